"""Which model the annual run takes: by what is there, by procedure, with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.errors import DataError, SpecificationError
from resilience.pipeline.config import ModelConfig
from resilience.pipeline.estimation import Tables, choose_model, estimate_effects
from resilience.pipeline.procedure_cells import procedure_cells
from resilience.pipeline.procedure_names import cohorts, procedure_grade
from resilience.pipeline.sources import choose_sources, find_supply

SCHOOLS = pd.DataFrame({"school_id": list("ABC"), "year": [2025] * 3})
MATHS, RUSSIAN = "ВПР-5-МА", "ОГЭ-РУ"


def counts(*procedures: str, **changes: object) -> pd.DataFrame:
    rows = [
        (school, 2025, procedure, 10, 2 + k, 4 - k, 2, 2, 2 + k)
        for procedure in procedures
        for k, school in enumerate("ABC")
    ]
    marks = ["n_2", "n_3", "n_4", "n_5"]
    columns = ["school_id", "year", "procedure", "n_participants", *marks, "n_below_minimum"]
    return pd.DataFrame(rows, columns=columns).assign(**changes)


def pupils(*procedures: str, **columns: object) -> pd.DataFrame:
    rows = [
        (f"{school}{i}", school, 2025, procedure, float(10 * k + i))
        for procedure in procedures
        for k, school in enumerate("ABC")
        for i in range(4)
    ]
    names = ["pupil_key", "school_id", "year", "procedure", "score"]
    return pd.DataFrame(rows, columns=names).assign(**columns)


def means(*procedures: str) -> pd.DataFrame:
    rows = [
        (school, 2025, procedure, 50.0 + k, 10, 8.0)
        for procedure in procedures
        for k, school in enumerate("ABC")
    ]
    names = ["school_id", "year", "procedure", "mean_score", "n_participants", "sd"]
    return pd.DataFrame(rows, columns=names)


def sources_of(settings: ModelConfig, **tables: pd.DataFrame) -> dict[str, str]:
    choice = choose_model(settings, Tables(schools=SCHOOLS, **tables))
    table = choice.sources.table
    return {"kind": choice.kind} | dict(
        zip(table["procedure"], table["source_kind"].astype(str), strict=True)
    )


AUTO = ModelConfig()


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ({"counts": counts(MATHS)}, {"kind": "counts", MATHS: "counts"}),
        ({"pupils": pupils(MATHS)}, {"kind": "pupils", MATHS: "pupils"}),
        ({"means": means(MATHS)}, {"kind": "means", MATHS: "means"}),
        (
            {"counts": counts(MATHS).drop(columns=["n_2", "n_3", "n_4", "n_5"])},
            {"kind": "counts", MATHS: "share"},
        ),
        (
            {"pupils": pupils(RUSSIAN), "counts": counts(MATHS, RUSSIAN)},
            {"kind": "mixture", MATHS: "counts", RUSSIAN: "pupils"},
        ),
        (
            {"means": means(MATHS, RUSSIAN), "counts": counts(MATHS)},
            {"kind": "mixture", MATHS: "counts", RUSSIAN: "means"},
        ),
        (
            {"means": means(MATHS), "pupils": pupils(RUSSIAN)},
            {"kind": "means", MATHS: "means", RUSSIAN: "pupils"},
        ),
        (
            {"means": means(MATHS), "pupils": pupils(MATHS)},
            {"kind": "pupils", MATHS: "pupils"},
        ),
        # linked to an earlier result: only they answer what was added since
        (
            {"pupils": pupils(RUSSIAN, prior_score=1.0), "counts": counts(MATHS, RUSSIAN)},
            {"kind": "pupils", MATHS: "none", RUSSIAN: "pupils"},
        ),
    ],
)
def test_the_best_source_of_each_procedure_is_taken(tables, expected):
    assert sources_of(AUTO, **tables) == expected


def test_what_is_asked_for_goes_before_what_is_best():
    linked = {"pupils": pupils(RUSSIAN, prior_score=1.0), "counts": counts(MATHS, RUSSIAN)}
    assert sources_of(replace(AUTO, kind="mixture"), **linked)["kind"] == "mixture"
    assert sources_of(replace(AUTO, kind="counts"), **linked) == {
        "kind": "counts",
        MATHS: "counts",
        RUSSIAN: "counts",
    }
    asked = replace(AUTO, procedures={"ВПР": "share", RUSSIAN: "counts"})
    assert sources_of(asked, **linked) == {"kind": "counts", MATHS: "share", RUSSIAN: "counts"}
    # the longer name decides
    both = replace(AUTO, procedures={"ВПР-5": "none", MATHS: "share", RUSSIAN: "pupils"})
    assert sources_of(both, **linked) == {"kind": "mixture", MATHS: "share", RUSSIAN: "pupils"}


def test_a_file_of_few_schools_does_not_displace_the_marks_of_all():
    few = pupils(MATHS).query("school_id == 'A'")
    assert sources_of(AUTO, pupils=few, counts=counts(MATHS))[MATHS] == "counts"
    table = choose_model(
        AUTO, Tables(schools=SCHOOLS, pupils=few, counts=counts(MATHS))
    ).sources.table
    assert table["other_sources"].tolist() == ["pupils, share"]
    assert "too few" in table["source_reason"].iloc[0]


def test_schools_that_only_another_source_knows_are_counted():
    # ten schools of pupils, an eleventh with marks alone
    many = pd.concat([pupils(MATHS).assign(school_id=f"S{k}") for k in range(10)])
    all_schools = [f"S{k}" for k in range(11)]
    marks = pd.concat([counts(MATHS).iloc[:1].assign(school_id=s) for s in all_schools])
    supply = find_supply(pupils=many, counts=marks)
    row = choose_sources(supply, {}).table.iloc[0]
    assert (str(row["source_kind"]), row["n_schools"], row["n_schools_without"]) == (
        "pupils",
        10,
        1,
    )


def test_a_procedure_in_which_all_are_alike_is_passed_over_with_its_reason():
    flat = counts(MATHS, n_2=0, n_3=10, n_4=0, n_5=0, n_below_minimum=0)
    both = pd.concat([flat, counts(RUSSIAN)], ignore_index=True)
    table = choose_model(AUTO, Tables(schools=SCHOOLS, counts=both)).sources.table
    row = table.set_index("procedure").loc[MATHS]
    assert row["source_kind"] == "none"
    assert "alike" in row["source_reason"]
    assert "одинаковы" in row["source_reason"].ru


def test_means_in_the_table_of_schools_come_last():
    named = SCHOOLS.assign(mean_score=[0.1, 0.2, 0.3])
    choice = choose_model(AUTO, Tables(schools=named))
    assert choice.kind == "means"
    assert choice.sources.table.empty
    assert choose_model(AUTO, Tables(schools=named, counts=counts(MATHS))).kind == "counts"


@pytest.mark.parametrize(
    ("settings", "tables", "error", "words"),
    [
        (AUTO, {}, DataError, "model kind auto"),
        (replace(AUTO, kind="pupils"), {"counts": counts(MATHS)}, DataError, "holds: counts"),
        (replace(AUTO, kind="means"), {"counts": counts(MATHS)}, DataError, "kind means"),
        (
            replace(AUTO, procedures={"ВПР-6": "counts"}),
            {"counts": counts(MATHS)},
            SpecificationError,
            "'ВПР-6'.*ВПР-5-МА",
        ),
        (
            replace(AUTO, procedures={MATHS: "pupils"}),
            {"counts": counts(MATHS)},
            DataError,
            "pupils of ВПР-5-МА.*counts, share",
        ),
    ],
)
def test_what_is_not_there_is_refused(settings, tables, error, words):
    with pytest.raises(error, match=words) as caught:
        choose_model(settings, Tables(schools=SCHOOLS, **tables))
    assert any("а" <= c <= "я" for c in caught.value.localized("ru"))


def test_cells_hold_marks_shares_and_means_in_one_table():
    supply = find_supply(pupils=pupils(RUSSIAN), counts=counts(MATHS, "ЕГЭ-РУ"))
    sources = choose_sources(supply, {"ЕГЭ": "share"})
    cells = procedure_cells(sources, pupils=pupils(RUSSIAN), counts=counts(MATHS, "ЕГЭ-РУ"))
    rows = cells[cells["school_id"] == "B"].set_index("procedure")
    marks = ["n_2", "n_3", "n_4", "n_5"]
    assert rows.loc[MATHS, marks].tolist() == [3, 3, 2, 2]
    assert rows.loc["ЕГЭ-РУ", marks].tolist() == [3, 7, 0, 0]
    # scores 0..3, 10..13, 20..23: B has the mean of the region, 4 pupils; s² and σ² by hand
    total, within = 100 * 2 / 3 + 1.25, 5 / 3
    assert rows.loc[RUSSIAN, "mean_score"] == pytest.approx(0.0, abs=1e-12)
    assert rows.loc[RUSSIAN, "sampling_variance"] == pytest.approx(within / total / 4)
    assert rows["n_participants"].to_dict() == {MATHS: 10, "ЕГЭ-РУ": 10, RUSSIAN: 4}


def test_published_means_need_the_spread_of_pupils():
    table = means(MATHS).drop(columns="sd")
    sources = choose_sources(find_supply(means=table), {})
    with pytest.raises(SpecificationError, match="column sd"):
        procedure_cells(sources, means=table)
    stated = procedure_cells(sources, means=table, sd=8.0)
    pd.testing.assert_frame_equal(stated, procedure_cells(sources, means=means(MATHS)))


def test_procedures_of_one_cohort_share_their_pupils():
    names = ["ВПР-5-РУ", "ВПР-5-МА", "ВПР-6-МА", "ОГЭ-РУ", "ЕГЭ-МА-профиль", "ГВЭ-РУ", "своя-МА"]
    assert [procedure_grade(n) for n in names] == [5, 5, 6, 9, 11, None, None]
    table = pd.DataFrame({"procedure": names, "year": [2024, 2024, 2025, 2025, 2025, 2025, 2025]})
    assert cohorts(table, None).tolist() == [
        "2019",
        "2019",
        "2019",
        "2016",
        "2014",
        "2025 ГВЭ",
        "2025 своя",
    ]
    told = pd.DataFrame({"procedure": ["своя-МА"], "year": [2025], "grade": [7]})
    assert cohorts(table, told).tolist()[-1] == "2018"


@pytest.fixture(scope="module")
def region() -> Tables:
    data = rs.load_dataset("north_region")
    return Tables(
        schools=data.schools,
        counts=data.counts[data.counts["year"] >= 2024],
        pupils=data.pupils[data.pupils["year"] >= 2024].drop(columns="prior_score"),
        procedures=data.procedures,
    )


def test_a_mixture_says_what_it_took_and_what_it_kept(region):
    settings = ModelConfig(outcome_procedure="ОГЭ", procedures={"ВПР-8": "share"})
    found = estimate_effects(settings, region)
    assert found.kind == "mixture"
    assert found.va.data_kind == "mixture"
    kept = found.sources.groupby(found.sources["source_kind"].astype(str))["information"].mean()
    assert kept["pupils"] == 1.0
    # four marks keep 86–88 % at their best shares, one share 22–49 %
    assert 0.75 < kept["counts"] < 0.90
    assert 0.15 < kept["share"] < 0.55
    notes = [str(n) for n in found.notes]
    assert "by procedure" in notes[0]
    assert any("since entry" in n for n in notes)
    assert any(f"keep {100 * found.va.information:.0f} %" in n for n in notes)
    assert any("0.5" in n and "not estimated" in n for n in notes)


def test_counts_and_pupils_tell_nearly_the_same_of_a_school(region):
    from_counts = estimate_effects(ModelConfig(kind="counts"), region).va.school_effects
    mixture = estimate_effects(
        ModelConfig(kind="mixture", outcome_procedure="ОГЭ"), region
    ).va.school_effects
    pair = from_counts.set_index("school_id")["effect"], mixture.set_index("school_id")["effect"]
    # the same pupils, 15 % of the information of two procedures in ten coarsened or not
    assert np.corrcoef(*[p.sort_index() for p in pair])[0, 1] > 0.98


def test_pupils_without_a_key_become_means_of_their_schools(region):
    keyless = replace(region, counts=None, pupils=region.pupils.drop(columns="pupil_key"))
    found = estimate_effects(ModelConfig(outcome_procedure="ОГЭ"), keyless)
    assert found.kind == found.va.data_kind == "means"
    assert "no key" in str(found.notes[0])


def test_pupils_of_no_named_procedure_are_counted_not_lost(region):
    found = estimate_effects(ModelConfig(), region)
    assert found.kind == "counts"
    n = len(region.pupils)
    assert any(f"{n} results of pupils name no procedure" in str(note) for note in found.notes)


def test_no_context_index_leaves_a_school_out_and_says_so(region):
    index = region.schools[["school_id", "year"]].assign(context_index=50.0)
    index["context_index"] += np.arange(len(index)) % 7
    index.loc[index["school_id"] == "S001", "context_index"] = np.nan
    found = estimate_effects(
        ModelConfig(kind="counts", procedures={}), replace(region, scores=index)
    )
    assert "S001" not in set(found.va.school_effects["school_id"])
    assert any("first: S001" in str(n) for n in found.notes)
    assert found.va.fixed_effects["term"].tolist() == ["context_index"]
