"""Teacher effects that persist against dense algebra, and against the nested engine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from resilience.data.simulation.classrooms import simulate_classrooms
from resilience.stats.persistence.persistence import fit_persistence
from resilience.stats.persistence.persistence_criterion import (
    criterion_and_gradient,
    parameter_layout,
)
from resilience.stats.persistence.persistence_products import Panel, persistence_products
from resilience.value_added import ValueAddedModel

N_PUPILS, N_YEARS, PER_YEAR = 40, 3, 4
COVARIANCE = np.array([[1.0, 0.3, 0.2], [0.3, 0.9, 0.4], [0.2, 0.4, 1.1]])


def tiny_panel(seed: int = 1) -> Panel:
    """Return pupils with gaps, unlinked years, and unequal shares of two teachers."""
    rng = np.random.default_rng(seed)
    rows, links = [], []
    effects = rng.normal(size=(N_YEARS, PER_YEAR))
    for pupil in range(N_PUPILS):
        taught = np.zeros(N_YEARS)
        error = rng.normal(size=N_YEARS) @ np.linalg.cholesky(COVARIANCE).T
        for year in range(N_YEARS):
            if rng.random() < 0.9:
                first, second = rng.choice(PER_YEAR, 2, replace=False)
                share = rng.choice([1.0, 0.7, 0.5])
                held = [(first, share), (second, 1.0 - share)] if share < 1 else [(first, share)]
                for unit, weight in held:
                    links.append((pupil, year * PER_YEAR + unit, weight))
                    taught[year] += weight * effects[year, unit]
            if rng.random() < 0.8:
                carried = taught[year] + 0.5 * taught[:year].sum()
                rows.append((pupil, year, 50.0 + carried + error[year]))
    pupil, year, score = map(np.array, zip(*rows, strict=True))
    link_pupil, link_unit, share = map(np.array, zip(*links, strict=True))
    columns = np.column_stack([np.ones(len(pupil)), rng.normal(size=len(pupil)), year == 1])
    return Panel(
        pupil=pupil,
        year=year,
        columns=columns.astype(float),
        outcome=score,
        link_pupil=link_pupil,
        link_unit=link_unit,
        share=share,
        unit_year=np.repeat(np.arange(N_YEARS), PER_YEAR),
        n_years=N_YEARS,
        terms=("Intercept", "covariate", "second year"),
    )


class Dense:
    """The same model with the covariance of all rows written out."""

    def __init__(self, panel: Panel, residual, teacher_variance, alpha) -> None:
        n = len(panel.outcome)
        loading = np.zeros((n, len(panel.unit_year)))
        for row in range(n):
            for pupil, unit, share in zip(
                panel.link_pupil, panel.link_unit, panel.share, strict=True
            ):
                if pupil == panel.pupil[row]:
                    kept = alpha[panel.year[row], panel.unit_year[unit]]
                    loading[row, unit] += share * kept
        same = panel.pupil[:, None] == panel.pupil
        error = np.where(same, residual[panel.year][:, panel.year], 0.0)
        self.prior = np.diag(np.asarray(teacher_variance)[panel.unit_year])
        self.loading, self.X, self.y = loading, panel.columns, panel.outcome
        self.V = loading @ self.prior @ loading.T + error
        self.inverse = np.linalg.inv(self.V)
        self.information = self.X.T @ self.inverse @ self.X
        self.beta = np.linalg.solve(self.information, self.X.T @ self.inverse @ self.y)

    def criterion(self, *, reml: bool) -> float:
        rest = self.y - self.X @ self.beta
        n = len(self.y) - (self.X.shape[1] if reml else 0)
        value = n * np.log(2 * np.pi) + np.linalg.slogdet(self.V)[1] + rest @ self.inverse @ rest
        return value + (np.linalg.slogdet(self.information)[1] if reml else 0.0)

    def effects(self):
        """Return effects, conditional covariance and prediction error covariance."""
        gain = self.prior @ self.loading.T
        effects = gain @ self.inverse @ (self.y - self.X @ self.beta)
        conditional = self.prior - gain @ self.inverse @ gain.T
        fixed = gain @ self.inverse @ self.X
        return effects, conditional, conditional + fixed @ np.linalg.inv(self.information) @ fixed.T


def offset(products, *, reml: bool) -> float:
    """Return what standardising the columns takes from the criterion, written anew."""
    n = products.n_rows - (products.n_terms if reml else 0)
    volume = np.linalg.slogdet(products.basis)[1]
    return 2.0 * n * np.log(products.scale) + (2.0 * volume if reml else 0.0)


@pytest.mark.parametrize("kind", ["variable", "complete", "zero"])
@pytest.mark.parametrize("reml", [True, False])
def test_criterion_equals_the_dense_likelihood(kind, reml):
    panel = tiny_panel()
    products = persistence_products(panel)
    layout = parameter_layout(N_YEARS, kind)
    vector = layout.pack(COVARIANCE, np.array([0.3, 0.5, 0.0]), 0.4)
    value, gradient, solution = criterion_and_gradient(products, layout, vector, reml=reml)
    parameters = layout.unpack(vector)
    square = products.scale**2
    dense = Dense(panel, COVARIANCE * square, parameters.teacher_sd**2 * square,
                  parameters.persistence)  # fmt: skip
    # sums of some hundred terms of order one: rounding stays far below 1e-8
    assert value + offset(products, reml=reml) == pytest.approx(
        dense.criterion(reml=reml), abs=1e-8
    )
    beta = products.origin + products.scale * np.linalg.solve(products.basis, solution.coefficients)
    np.testing.assert_allclose(beta, dense.beta, rtol=1e-9)
    steps = 1e-5 * np.eye(len(vector))
    numeric = [
        (
            criterion_and_gradient(products, layout, vector + step, reml=reml)[0]
            - criterion_and_gradient(products, layout, vector - step, reml=reml)[0]
        )
        / 2e-5
        for step in steps
    ]
    # central differences: step² times third derivatives, and rounding / step, both near 1e-8
    np.testing.assert_allclose(gradient, numeric, atol=1e-6)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_effects_and_errors_equal_dense_algebra(method):
    panel = tiny_panel(3)
    fitted = fit_persistence(persistence_products(panel), method=method)
    dense = Dense(panel, fitted.residual, fitted.teacher_variance, fitted.persistence)
    assert fitted.criterion == pytest.approx(dense.criterion(reml=method == "reml"), abs=1e-8)
    effects, conditional, error = dense.effects()
    np.testing.assert_allclose(fitted.effects, effects, atol=1e-8)
    np.testing.assert_allclose(fitted.conditional_sd, np.sqrt(np.diag(conditional)), atol=1e-8)
    np.testing.assert_allclose(fitted.std_error, np.sqrt(np.diag(error)), atol=1e-8)
    joint = fitted.effect_loadings @ fitted.effect_loadings.T
    for units, block in fitted.effect_blocks:
        joint[np.ix_(units, units)] += block
    np.testing.assert_allclose(joint, error, atol=1e-8)
    np.testing.assert_allclose(fitted.covariance, np.linalg.inv(dense.information), atol=1e-8)


def test_search_ends_at_the_optimum_of_the_dense_likelihood():
    panel = tiny_panel(5)
    products = persistence_products(panel)
    layout = parameter_layout(N_YEARS, "variable")
    fitted = fit_persistence(products)
    assert fitted.record.converged
    assert max(fitted.record.starts) - min(fitted.record.starts) < 1e-5

    def dense(vector):
        parameters = layout.unpack(vector)
        covariance = parameters.root @ parameters.root.T
        return Dense(panel, covariance, parameters.teacher_sd**2, parameters.persistence).criterion(
            reml=True
        )

    start = layout.pack(fitted.residual * 1.02, np.sqrt(fitted.teacher_variance) * 0.98, 0.45)
    found = minimize(dense, start, method="BFGS", options={"gtol": 1e-4})
    # the optimiser sees differences of function values only: 1e-6 of the criterion is its limit
    assert found.fun == pytest.approx(fitted.criterion, abs=1e-5)
    assert found.fun >= fitted.criterion - 1e-7


def test_standard_errors_are_those_of_the_dense_hessian():
    panel = tiny_panel(5)
    products = persistence_products(panel)
    layout = parameter_layout(N_YEARS, "variable")
    fitted = fit_persistence(products)
    assert (fitted.teacher_variance > 0).all()
    centre = layout.pack(fitted.residual, np.sqrt(fitted.teacher_variance), 0.0)
    centre[layout.alpha] = fitted.persistence[layout.below]

    def dense(vector):
        parameters = layout.unpack(vector)
        covariance = parameters.root @ parameters.root.T
        return Dense(panel, covariance, parameters.teacher_sd**2, parameters.persistence).criterion(
            reml=True
        )

    size, step = len(centre), 1e-3
    hessian = np.empty((size, size))
    unit = step * np.eye(size)
    for i in range(size):
        for j in range(size):
            hessian[i, j] = (
                dense(centre + unit[i] + unit[j])
                - dense(centre + unit[i] - unit[j])
                - dense(centre - unit[i] + unit[j])
                + dense(centre - unit[i] - unit[j])
            ) / (4 * step**2)
    expected = np.sqrt(np.diag(2.0 * np.linalg.inv(hessian)))[layout.alpha]
    # fourth derivatives × step² leave some 1e-5 of the second ones
    np.testing.assert_allclose(fitted.persistence_std_error[layout.below], expected, rtol=1e-3)


def test_one_year_and_one_teacher_each_is_the_nested_model():
    made = simulate_classrooms(
        400, n_years=1, class_size=15, shared=0.0, persistence=1.0, random_state=4
    )
    table = made.rows.merge(made.links, on=["pupil_key", "year"])
    units = {key: k for k, key in enumerate(made.teachers["teacher_id"])}
    panel = Panel(
        pupil=np.arange(len(table)),
        year=np.zeros(len(table), dtype=np.int64),
        columns=np.column_stack([np.ones(len(table)), table["prior_score"]]),
        outcome=table["score"].to_numpy(),
        link_pupil=np.arange(len(table)),
        link_unit=table["teacher_id"].map(units).to_numpy(),
        share=np.ones(len(table)),
        unit_year=np.zeros(len(units), dtype=np.int64),
        n_years=1,
    )
    for method in ("reml", "ml"):
        ours = fit_persistence(persistence_products(panel), persistence="complete", method=method)
        nested = ValueAddedModel("score ~ prior_score", group="teacher_id").fit(
            table, method=method
        )
        assert ours.criterion == pytest.approx(nested.criterion, abs=1e-7)
        effects = nested.school_effects.sort_values("school_id")
        # two searches with their own stopping rules: 1e-5 of a point
        np.testing.assert_allclose(ours.effects, effects["effect"], atol=1e-5)
        np.testing.assert_allclose(ours.std_error, effects["std_error"], atol=1e-5)
        np.testing.assert_allclose(ours.conditional_sd, effects["conditional_sd"], atol=1e-5)


def test_an_evaluation_does_not_grow_with_the_pupils():
    sizes = []
    for n_pupils in (500, 2000):
        made = simulate_classrooms(n_pupils, class_size=n_pupils // 10, random_state=0, shared=0)
        pupil = pd.factorize(made.rows["pupil_key"])[0]
        keys = {key: k for k, key in enumerate(made.teachers["teacher_id"])}
        linked = pd.factorize(made.rows["pupil_key"])[1].get_indexer(made.links["pupil_key"])
        products = persistence_products(
            Panel(
                pupil=pupil,
                year=made.rows["year"].to_numpy() - 2023,
                columns=np.ones((len(pupil), 1)),
                outcome=made.rows["score"].to_numpy(),
                link_pupil=linked,
                link_unit=made.links["teacher_id"].map(keys).to_numpy(),
                share=made.links["share"].to_numpy(),
                unit_year=made.teachers["year"].to_numpy() - 2023,
                n_years=3,
            )
        )
        sizes.append((products.gram.size, products.unit_columns.size, products.pair_shares.size))
    for small, large in pairwise(sizes):
        assert small == large
