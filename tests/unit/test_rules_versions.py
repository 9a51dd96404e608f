"""What a newer version of a rule or of a criteria file changes, and the list of presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.columns import column_names
from resilience.detection import Criteria, preset_ids
from resilience.detection.rules.files import ALIASES, FAMILIES
from resilience.errors import SpecificationError

FEDERAL = Criteria.preset("low_results_2025_or")


def test_a_changed_threshold_is_one_row() -> None:
    newer = FEDERAL.amend("two_procedures", at_least=0.25, min_participants=10)
    found = FEDERAL.diff(newer)
    assert set(found.columns) <= set(column_names())
    lines = found[found["criterion"] == "two_procedures"].set_index("field")
    assert lines.loc["at_least", ["old_value", "new_value"]].tolist() == ["0.3", "0.25"]
    # a default is a value too, and stands in the table
    assert lines.loc["min_participants", ["old_value", "new_value"]].tolist() == ["1", "10"]
    assert set(found["change"]) == {"changed"}
    rule = found[found["criterion"] == ""]
    assert set(rule["field"]) == {"version", "status", "second_hand"}


def test_the_same_in_russian() -> None:
    found = FEDERAL.diff(FEDERAL.amend("two_procedures", at_least=0.25), "ru")
    line = found[found["field"] == "at_least"].iloc[0]
    assert (line["old_value"], line["new_value"]) == ("0,3", "0,25")
    assert (line["field_label"], line["change"]) == ("не менее", "изменено")


def test_a_changed_bound_names_both() -> None:
    older = Criteria.preset("adverse_context")
    found = older.diff(older.amend("adversity", below=0.2)).set_index("field")
    assert found.loc["at_most", ["old_value", "new_value"]].tolist() == ["0.25", ""]
    assert found.loc["below", ["old_value", "new_value"]].tolist() == ["", "0.2"]


def test_no_change_is_an_empty_table() -> None:
    assert FEDERAL.diff(FEDERAL).empty
    assert list(FEDERAL.diff(FEDERAL).columns) == list(FEDERAL.diff(FEDERAL.amend(year=1)).columns)


def test_criteria_added_and_removed() -> None:
    record = FEDERAL.to_dict()
    first, second = record["criterion"]
    newer = Criteria.from_dict(record | {"criterion": [first, second | {"name": "third"}]})
    for lang, words in (("en", ["removed", "added"]), ("ru", ["удалено", "добавлено"])):
        found = FEDERAL.diff(newer, lang)
        assert found["criterion"].tolist() == ["same_procedure_two_years", "third"]
        assert found["change"].tolist() == words
        assert found["field"].tolist() == ["", ""]
        assert "0" in found["old_value"][0]
        assert found["new_value"][0] == ""


def test_between_files_rules_are_paired_by_id(tmp_path: Path) -> None:
    old, new = tmp_path / "2025.toml", tmp_path / "2026.toml"
    gone, kept = Criteria.preset("low_z"), Criteria.preset("low_quantile_10")
    come = Criteria.preset("low_quantile_25")
    old.write_text(gone.to_toml() + kept.to_toml(), encoding="utf-8")
    changed = kept.amend("lowest", at_most=0.15)
    new.write_text(come.to_toml() + changed.to_toml(), encoding="utf-8")
    found = Criteria.diff_files(old, new)
    assert list(dict.fromkeys(found["rule_id"])) == ["low_z", "low_quantile_10", "low_quantile_25"]
    assert found.loc[found["rule_id"] == "low_z", "change"].tolist() == ["removed"]
    assert found.loc[found["rule_id"] == "low_quantile_25", "change"].tolist() == ["added"]
    kept_rows = found[found["rule_id"] == "low_quantile_10"].set_index("field")
    assert kept_rows.loc["at_most", "new_value"] == "0.15"
    assert kept_rows.loc["version", "new_value"] == "1+amended"


def test_the_list_of_presets() -> None:
    for lang in ("en", "ru"):
        found = Criteria.presets(lang)
        assert found["rule_id"].tolist() == list(preset_ids())
        assert set(found.columns) <= set(column_names())
        assert set(found["rule_status"]) == {"documented", "unverified", "proposal"}
        assert (found[["rule_version", "rule_title", "reference"]] != "").all(axis=None)
    assert (Criteria.presets("ru")["rule_title"] != Criteria.presets("en")["rule_title"]).all()
    assert set(found.query("rule_unit == 'pupil'")["rule_id"]) == {
        "oecd_national",
        "oecd_core_skills",
        "oecd_residual",
    }


# Every id of methods/detection.md section 2 and DOMAIN.md 4.2-4.4, 4.6, 4.10 that names a rule.
NAMED = """
low_results_2025_or low_results_2025_and low_results_2025_any low_results_guarded_or
low_results_guarded_and low_results_guarded_any low_posterior low_posterior_pooled
low_quantile_10 low_quantile_25 low_z persistent_2_of_3 persistent_3_of_3 concentration_60
hse_core adverse_context resilient_posterior resilient_quadrant resilient_residual
resilient_three_of_three beats_prediction one_tailed expected_rank_70 prediction_and_neighbours
pupil_share oecd_national oecd_core_skills oecd_residual shnor_2020_2024 three_years_m2 low_by_z
low_by_region_gap inspection_draft quadrant residual risk_zone group_of_risk adverse_thresholds
low_expected_rank_30 hse_split_exam hse_split_attainment
"""


@pytest.mark.parametrize("name", NAMED.split())
def test_every_named_rule_is_there(name: str) -> None:
    assert Criteria.preset(name).id in preset_ids()


def test_other_names_lead_to_presets() -> None:
    assert set(ALIASES.values()) <= set(preset_ids())
    assert not set(ALIASES) & set(preset_ids())
    for family, members in FAMILIES.items():
        assert set(members) <= set(preset_ids())
        # which number is meant no document says: the caller does
        with pytest.raises(SpecificationError, match=members[0]):
            Criteria.preset(family)
