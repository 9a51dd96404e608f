"""Adverse context (ШНСУ) by explicit thresholds on passport shares: a rule as data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from resilience.context import ContextIndex
from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.verdicts.detect import detect_schools
from resilience.errors import SpecificationError

RULE = Criteria(
    id="adverse_by_thresholds",
    version="example",
    title_en="Adverse conditions: at least two of three thresholds",
    title_ru="Сложные условия: не менее двух из трёх порогов",
    target="adverse",
    combination=2,
    criteria=(
        Criterion(name="education", column="both_parents_higher_edu", at_most=0.10),
        Criterion(name="language", column="non_native_russian", at_least=0.25),
        Criterion(name="remoteness", column="remoteness_km", at_least=20.0),
    ),
)


def passports() -> pd.DataFrame:
    """Return 20 schools: the first eight in every combination of the three conditions."""
    rows = [(k >> 2 & 1, k >> 1 & 1, k & 1) for k in range(8)] + [(0, 0, 0)] * 12
    return pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(20)],
            "year": 2025,
            "both_parents_higher_edu": [0.10 if a else 0.11 for a, _, _ in rows],
            "non_native_russian": [0.25 if b else 0.24 for _, b, _ in rows],
            "remoteness_km": [20.0 if c else 19.9 for _, _, c in rows],
        }
    )


def verdicts(rule: Criteria, schools: pd.DataFrame) -> list[str]:
    return detect_schools(None, None, rule, schools=schools).schools["verdict"].tolist()


def test_at_least_two_of_three_thresholds_are_inclusive() -> None:
    found = verdicts(RULE, passports())
    assert found[:8] == ["no", "no", "no", "yes", "no", "yes", "yes", "yes"]
    assert found[8:] == ["no"] * 12


def test_all_or_any_are_the_same_criteria_combined_anew() -> None:
    assert verdicts(RULE.amend(combination="all"), passports())[:8] == ["no"] * 7 + ["yes"]
    assert verdicts(RULE.amend(combination="any"), passports())[:8] == ["no"] + ["yes"] * 7


@pytest.mark.parametrize(
    ("school", "expected"),
    # Without the distance: both shares decide a yes, neither decides a no, one leaves it open.
    [(6, "yes"), (7, "yes"), (0, "no"), (4, "insufficient_data"), (3, "insufficient_data")],
)
@pytest.mark.filterwarnings("ignore::resilience.errors.WeakDataWarning")
def test_a_missing_passport_is_unknown_and_not_zero(school, expected) -> None:
    schools = passports()
    schools.loc[school, "remoteness_km"] = np.nan
    assert verdicts(RULE, schools)[school] == expected


def test_the_rule_survives_its_file(tmp_path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULE.to_toml(), encoding="utf-8")
    (again,) = Criteria.from_toml(path)
    assert again == RULE
    assert "не менее 2" in again.describe("ru")


def test_per_cent_in_a_threshold_on_a_share_is_refused() -> None:
    with pytest.raises(SpecificationError) as caught:
        RULE.amend("language", at_least=25)
    assert "25" in str(caught.value)


@pytest.mark.parametrize("quantile", [0.25, 0.30, 0.33])
def test_quantiles_of_the_index_name_that_share_of_schools(quantile) -> None:
    rng = np.random.default_rng(3)
    shares = rng.beta(2, 6, size=(200, 2))
    schools = pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in range(200)],
            "year": 2025,
            "n_pupils": rng.integers(20, 400, 200),
            "low_income": shares[:, 0],
            "single_parent": shares[:, 1],
        }
    )
    index = ContextIndex.policy({"low_income": -0.7, "single_parent": -0.3}).fit(schools)
    rule = Criteria(
        id="adverse_by_index",
        version="example",
        title_en="Adverse",
        title_ru="Сложные условия",
        target="adverse",
        criteria=(
            Criterion(name="adversity", column="context_index", at_most=quantile, scale="quantile"),
        ),
    )
    found = detect_schools(None, index.scores, rule).schools.set_index("school_id")["verdict"]
    assert (found == "yes").sum() == round(200 * quantile)  # percentiles (rank − ½)/200
    # The hard list is the lowest index; the probability of the same gate orders by it, shrunken.
    table = index.adverse_context(quantile=quantile).set_index("school_id")
    listed = table.loc[found == "yes", "probability_adverse"]
    others = table.loc[found == "no", "probability_adverse"]
    assert listed.mean() > 0.75
    assert others.mean() < 0.15
    # In expectation about as many schools lie below the gate as the quantile says.
    assert table["probability_adverse"].sum() == pytest.approx(200 * quantile, rel=0.15)
