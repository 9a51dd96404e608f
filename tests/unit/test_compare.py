"""Specifications side by side on common rows, from one pass where one can serve them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import resilience as rs
from resilience.columns import column_names
from resilience.value_added.definitions.membership import Membership
from resilience.value_added.pupils import compare as comparing
from resilience.value_added.pupils.model_tests import n_parameters


@pytest.fixture(scope="module")
def pupils():
    rng = np.random.default_rng(21)
    n, J = 900, 30
    school = rng.permutation(np.r_[np.arange(J), rng.integers(0, J, n - J)])
    prior, ses = rng.normal(size=n), rng.normal(size=n) + 0.4 * rng.normal(size=J)[school]
    year = rng.integers(2021, 2024, size=n)
    u = 0.4 * rng.normal(size=(J, 2))
    other = rng.integers(0, 12, size=n)
    score = 0.6 * prior + 0.2 * ses + u[school, 0] + 0.5 * u[school, 1] * prior
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 12:02d}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "next_id": [f"S{k:02d}" for k in np.roll(school, 1)],
            "primary_id": [f"P{k}" for k in other],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "score": score
            + 0.3 * rng.normal(size=(J, 3))[school, year - 2021]
            + rng.normal(size=n),
        }
    )
    frame.loc[:39, "ses"] = np.nan
    frame.loc[30:49, "prior_score"] = np.nan
    return frame


def compared(specs, data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.ValueAddedModel.compare(specs, data, **options)


def fitted(model, data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return model.fit(data, **options)


def specifications():
    formula = "score ~ prior_score + ses"
    both = ["municipality_id", "school_id"]
    return {
        "plain": rs.ValueAddedModel("score ~ prior_score", group="school_id"),
        "ses": rs.ValueAddedModel(formula, group="school_id"),
        "slopes": rs.ValueAddedModel(formula, group="school_id", slopes="prior_score"),
        "three levels": rs.ValueAddedModel(
            formula, group=both, slopes={"municipality_id": ["ses"]}
        ),
        "years": rs.ValueAddedModel(formula, group="school_id", time="year"),
        "diagonal": rs.ValueAddedModel(
            formula,
            group="school_id",
            slopes="prior_score",
            structure=rs.Structure(covariance={"school_id": "diagonal"}),
        ),
    }


@pytest.fixture(scope="module")
def result(pupils):
    return compared(specifications(), pupils, method="ml")


def test_one_pass_equals_separate_fits(result, pupils):
    rows = pupils.dropna()
    assert result.n_passes == 1
    assert result.n_rows == len(rows) == 850
    assert result.n_rows_dropped == 50
    for name, model in specifications().items():
        alone, shared = fitted(model, rows, method="ml"), result.results[name]
        # two searches from other units stop at a relative gradient of about 1e-8
        assert shared.criterion == pytest.approx(alone.criterion, rel=1e-9)
        np.testing.assert_allclose(
            shared.fixed_effects["estimate"], alone.fixed_effects["estimate"], atol=1e-5
        )
        np.testing.assert_allclose(
            shared.school_effects["effect"], alone.school_effects["effect"], atol=1e-4
        )
        assert list(shared.random_effects["unit_id"]) == list(alone.random_effects["unit_id"])


def test_the_table_says_what_each_would_have_kept(result):
    table = result.table.set_index("specification")
    assert (table["n_rows"] == 850).all()
    assert table["n_rows_alone"]["plain"] == 880
    assert (table["n_rows_alone"].drop("plain") == 850).all()
    assert table["one_pass"].all()


def test_criteria_and_agreement(result):
    table = result.table.set_index("specification")
    for name, fit in result.results.items():
        k = n_parameters(fit)
        assert table["aic"][name] == pytest.approx(fit.criterion + 2 * k)
        assert table["bic"][name] == pytest.approx(fit.criterion + np.log(850) * k)
        assert table["std_dev_residual"][name] == pytest.approx(fit.variances["residual"] ** 0.5)
    first, slopes = result.results["plain"].school_effects, result.results["slopes"].school_effects
    assert table["rank_correlation"]["plain"] == pytest.approx(1.0)
    assert table["rank_correlation"]["slopes"] == pytest.approx(
        stats.spearmanr(first["effect"], slopes["effect"]).statistic
    )
    assert table["n_bands_changed"]["plain"] == 0
    assert table["n_bands_changed"]["slopes"] == (first["band"] != slopes["band"]).sum()


def test_reml_with_other_fixed_parts_has_a_reason_instead(pupils):
    table = compared(specifications(), pupils).table.set_index("specification")
    assert table["aic"].notna().tolist() == [True, False, False, False, False, False]
    assert "ses" in table["basis"]["slopes"]
    assert "REML" in table["basis"]["slopes"].ru


def test_other_outcomes_and_standardised_ones_have_a_reason(pupils):
    base = rs.ValueAddedModel("score ~ prior_score", group="school_id")
    scaled = rs.ValueAddedModel(
        "score ~ prior_score", group="school_id", intake=rs.Intake(standardize_by=["year"])
    )
    specs = {"raw": base, "standardised": scaled, "other": "ses ~ prior_score"}
    found = compared(specs, pupils, method="ml")
    assert found.table["aic"].notna().tolist() == [True, False, False]
    assert found.n_passes == 2
    assert found.table["one_pass"].tolist() == [True, False, True]


def test_what_cannot_share_a_pass_makes_its_own(pupils):
    rng = np.random.default_rng(0)
    data = pupils.assign(w1=rng.choice([1.0, 0.5], size=len(pupils)))
    data["w2"] = 1.0 - data["w1"]
    members = Membership(unit=["school_id", "next_id"], weight=["w1", "w2"], name="schools")
    specs = {
        "plain": rs.ValueAddedModel("score ~ prior_score", group="school_id"),
        "prior and ses": "score ~ prior_score + ses",
        "crossed": rs.ValueAddedModel("score ~ ses", crossed=["primary_id", "school_id"]),
        "movers": rs.ValueAddedModel("score ~ prior_score", members=members),
        "fading": rs.ValueAddedModel(
            "score ~ prior_score",
            group="school_id",
            time="year",
            structure=rs.Structure(drift="ar1"),
        ),
        "composition": rs.ValueAddedModel(
            "score ~ prior_score", group="school_id", intake=rs.Intake(composition={"ses": "mean"})
        ),
    }
    found = compared(specs, data)
    table = found.table.set_index("specification")
    assert found.n_passes == 5
    assert table["one_pass"].tolist() == [True, True, False, False, False, False]
    assert (table["n_rows"] == 850).all()
    rows = data.dropna()
    for name in ("crossed", "composition"):
        alone = fitted(specs[name], rows)
        assert found.results[name].criterion == pytest.approx(alone.criterion, rel=1e-10)


def test_tables_stand_in_the_glossary(result, pupils):
    known = set(column_names())
    augmented = result.augment(pupils)
    added = [c for c in augmented if c not in pupils]
    assert added == ["effect_lowest", "effect_highest", "n_bands"]
    for table in (result.tidy(), result.glance(), result.fixed_effects, result.school_effects):
        assert set(table.columns) <= known
    assert set(added) <= known
    assert len(augmented) == len(pupils)
    assert (augmented["effect_lowest"] <= augmented["effect_highest"]).all()
    assert len(result.school_effects) == 6 * 30
    assert "Сравнение спецификаций" in result.summary("ru")
    assert result.to_dict()["n_passes"] == 1


def test_the_second_specification_reads_no_row(result, pupils, monkeypatch):
    """After the pass every fit comes from sub-blocks: the readers are not called again."""
    calls = []
    original = comparing.SharedPass.read_models.__func__

    def counted(cls, *arguments, **options):
        shared = original(cls, *arguments, **options)
        monkeypatch.setattr(
            "resilience.value_added.pupils.shared_pass._entry",
            lambda *_: pytest.fail("a row was read"),
        )
        calls.append(len(shared.models))
        return shared

    monkeypatch.setattr(comparing.SharedPass, "read_models", classmethod(counted))
    again = compared(specifications(), pupils, method="ml")
    assert calls == [6]
    pd.testing.assert_frame_equal(again.table, result.table)


def test_gaps_filled_by_an_indicator_are_no_loss(pupils):
    intake = rs.Intake(missing="indicator")
    specs = {
        "one": rs.ValueAddedModel("score ~ ses", group="school_id", intake=intake),
        "two": "score ~ ses + prior_score",
    }
    found = compared(specs, pupils)
    assert found.n_rows == 900
    assert list(found.table["n_rows_alone"]) == [900, 900]


def test_bad_comparisons_name_the_culprit(pupils):
    model = rs.ValueAddedModel("score ~ ses", group="school_id")
    with pytest.raises(rs.SpecificationError, match="at least two"):
        compared({"A": model}, pupils)
    with pytest.raises(rs.SpecificationError, match="first specification"):
        compared({"A": "score ~ ses", "B": model}, pupils)
    with pytest.raises(rs.DataError, match="none of the 900 rows"):
        compared({"A": model, "B": "score ~ prior_score"}, pupils.assign(prior_score=np.nan))
    with pytest.raises(rs.DataError, match="nothing"):
        compared({"A": model, "B": "score ~ nothing"}, pupils)
    with pytest.raises(rs.SpecificationError, match=r"specification B: .*prior_score") as caught:
        compared({"A": model, "B": "score ~ ses + prior_score + I(2 * prior_score)"}, pupils)
    assert "спецификация B" in caught.value.localized("ru")
