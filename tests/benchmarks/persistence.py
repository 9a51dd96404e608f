"""Teacher effects that persist: cross-products per pattern of years beside a dense EM.

    python tests/benchmarks/persistence.py               # 3,750 rows: a fit, and EM steps beside it
    python tests/benchmarks/persistence.py --small       # 300 rows: EM run to its end

Both maximise the same likelihood (ML): the deviances are printed with the seconds.  The EM holds
the loading matrix of all rows and one dense inverse per step, as a plain program would.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from resilience.data.simulation.classrooms import Classrooms, simulate_classrooms
from resilience.stats.persistence.persistence import PersistenceFit, fit_persistence
from resilience.stats.persistence.persistence_products import Panel, persistence_products


def panel_of(made: Classrooms) -> Panel:
    """Return simulated classrooms as arrays, with a mean per year and the prior score."""
    pupil, keys = pd.factorize(made.rows["pupil_key"], sort=True)
    teacher = {key: k for k, key in enumerate(made.teachers["teacher_id"])}
    year = made.rows["year"].to_numpy() - 2023
    n_years = int(year.max()) + 1
    return Panel(
        pupil=pupil,
        year=year,
        columns=np.column_stack([np.eye(n_years)[year], made.rows["prior_score"]]),
        outcome=made.rows["score"].to_numpy(),
        link_pupil=keys.get_indexer(made.links["pupil_key"]),
        link_unit=made.links["teacher_id"].map(teacher).to_numpy(),
        share=made.links["share"].to_numpy(),
        unit_year=made.teachers["year"].to_numpy() - 2023,
        n_years=n_years,
    )


class DenseEM:
    """ML by expectation and maximisation over dense matrices (pupils with complete years)."""

    def __init__(self, panel: Panel) -> None:
        order = np.lexsort((panel.year, panel.pupil))
        self.y, self.X = panel.outcome[order], panel.columns[order]
        self.year, self.pupil = panel.year[order], panel.pupil[order]
        self.n_years, self.unit_year = panel.n_years, panel.unit_year
        taught = np.zeros((int(panel.pupil.max()) + 1, len(panel.unit_year)))
        taught[panel.link_pupil, panel.link_unit] += panel.share
        # rows × units, one matrix per year taught: what α of that pair of years multiplies
        self.parts = [
            np.where(panel.unit_year == s, taught[self.pupil], 0.0) for s in range(self.n_years)
        ]
        self.alpha = np.tril(np.full((self.n_years, self.n_years), 0.5), -1) + np.eye(self.n_years)
        self.teacher = np.full(self.n_years, 0.1 * self.y.var())
        self.residual = np.eye(self.n_years) * self.y.var()
        self.beta = np.linalg.lstsq(self.X, self.y, rcond=None)[0]

    def loading(self) -> np.ndarray:
        return sum(self.alpha[self.year, s][:, None] * self.parts[s] for s in range(self.n_years))

    def step(self) -> float:
        """Take one step; return the deviance before it."""
        Z, n_years = self.loading(), self.n_years
        inverse = np.linalg.inv(self.residual)
        whole = np.kron(np.eye(len(self.y) // n_years), inverse)
        weighted = whole @ Z
        posterior = np.linalg.inv(Z.T @ weighted + np.diag(1.0 / self.teacher[self.unit_year]))
        rest = self.y - self.X @ self.beta
        effects = posterior @ (weighted.T @ rest)
        deviance = self.deviance(rest, weighted, whole, posterior)
        second = posterior + np.outer(effects, effects)
        self.beta = np.linalg.solve(
            self.X.T @ whole @ self.X, self.X.T @ whole @ (self.y - Z @ effects)
        )
        rest = self.y - self.X @ self.beta
        self.update_alpha(inverse, rest, effects, second)
        Z = self.loading()
        error = (rest - Z @ effects).reshape(-1, n_years)
        spread = (Z @ posterior).reshape(-1, n_years, Z.shape[1])
        self.residual = (
            error.T @ error + np.einsum("iau,ibu->ab", spread, Z.reshape(spread.shape))
        ) / len(error)
        self.teacher = np.array(
            [np.diag(second)[self.unit_year == s].mean() for s in range(n_years)]
        )
        return deviance

    def deviance(self, rest, weighted, whole, posterior) -> float:
        n = len(self.y)
        value = n * np.log(2 * np.pi) + n / self.n_years * np.linalg.slogdet(self.residual)[1]
        value += np.log(self.teacher[self.unit_year]).sum() - np.linalg.slogdet(posterior)[1]
        gain = weighted.T @ rest
        return float(value + rest @ whole @ rest - gain @ posterior @ gain)

    def update_alpha(self, inverse, rest, effects, second) -> None:
        """Maximise the expected likelihood over all free α jointly: it is quadratic in them."""
        n_years = self.n_years
        pairs = list(zip(*np.tril_indices(n_years, -1), strict=True))
        by_pupil = [part.reshape(-1, n_years, part.shape[1]) for part in self.parts]
        left = rest.reshape(-1, n_years)
        matrix, right = np.zeros((len(pairs), len(pairs))), np.zeros(len(pairs))
        for a, (t, s) in enumerate(pairs):
            own = by_pupil[s][:, t]
            moved = own @ second
            right[a] = ((own @ effects) @ (left @ inverse[:, t])).sum()
            for u in range(n_years):
                right[a] -= inverse[t, u] * np.sum(moved * by_pupil[u][:, u])
            for b, (u, r) in enumerate(pairs):
                matrix[a, b] = inverse[t, u] * np.sum(moved * by_pupil[r][:, u])
        found = np.linalg.solve(matrix, right)
        for value, (t, s) in zip(found, pairs, strict=True):
            self.alpha[t, s] = value


def ours(panel: Panel) -> tuple[PersistenceFit, float]:
    """Return the fit and its seconds."""
    start = time.perf_counter()
    fitted = fit_persistence(persistence_products(panel), method="ml")
    return fitted, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    n_pupils, class_size = (100, 10) if options.small else (1250, 25)
    made = simulate_classrooms(
        n_pupils,
        class_size=class_size,
        persistence=(0.6, 0.4, 0.7),
        random_state=options.seed,
    )
    panel = panel_of(made)
    fitted, seconds = ours(panel)
    below = np.tril_indices(panel.n_years, -1)
    print(f"{len(panel.outcome)} rows, {len(panel.unit_year)} teachers")
    alpha = fitted.persistence[below].round(4)
    print(
        f"cross-products: {seconds:.2f} s, {fitted.record.n_evaluations} evaluations, "
        f"deviance {fitted.criterion:.6f}, alpha {alpha}"
    )
    em = DenseEM(panel)
    start, deviance, change = time.perf_counter(), np.inf, np.inf
    steps = 0
    while steps < (5000 if options.small else options.steps) and change > 1e-9:
        reached = em.step()
        change, deviance, steps = deviance - reached, reached, steps + 1
    seconds_em = time.perf_counter() - start
    print(
        f"dense EM: {seconds_em:.2f} s for {steps} steps ({seconds_em / steps:.3f} s each), "
        f"deviance {deviance:.6f}, alpha {em.alpha[below].round(4)}"
    )
    if not options.small:
        print(f"one EM step takes {seconds_em / steps / seconds:.1f} times our whole fit")


if __name__ == "__main__":
    main()
