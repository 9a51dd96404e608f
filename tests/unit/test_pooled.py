"""Counts pooled over procedures and years: draws, verdicts of small schools, why they differ."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import special

from resilience.columns import column_names
from resilience.detection import Criteria, Criterion, DetectionResults, detect_schools
from resilience.detection.verdicts.pooled import judge_pooled, pooled_fit
from resilience.detection.verdicts.tables import Tables, gather
from resilience.errors import DataError, SpecificationError, WeakDataWarning
from resilience.stats.marks.long_run import LongRunShares, long_run_blocks, long_run_shares

YEARS = (2023, 2024, 2025)
PROCEDURES = [f"ВПР-{grade}-{subject}" for grade in (4, 5, 6, 7, 8) for subject in ("МА", "РУ")]
OFFICIAL = Criteria.preset("low_results_2025_or")
ANSWERS = {"yes", "no"}


def pooled_rule(**fields: object) -> Criteria:
    own: dict[str, object] = {"at_least": 0.30, "procedures_at_least": 2}
    line = Criterion(
        name="share",
        column="share_below_minimum",
        evidence="posterior",
        loss_false_negative=2.0,
        **(own | fields),  # type: ignore[arg-type]  # fields of the criterion by name
    )
    return Criteria(
        id="pooled",
        version="1",
        title_en="Pooled",
        title_ru="Объединённое",
        criteria=(line,),
        target="low",
    )


def region(seed: int = 4, n_schools: int = 40) -> pd.DataFrame:
    """Counts of schools of 5 to 40 pupils; S00 has five pupils and ten procedures in every year."""
    rng = np.random.default_rng(seed)
    size = rng.integers(5, 41, n_schools)
    size[0] = 5
    u = 0.35 * rng.normal(size=n_schools)
    w = 0.15 * rng.normal(size=(n_schools, len(PROCEDURES)))
    rows = []
    for j in range(n_schools):
        for year in YEARS:
            v = 0.1 * rng.normal()
            for k, procedure in enumerate(PROCEDURES):
                results = u[j] + w[j, k] + v + rng.normal(size=size[j])
                marks = np.bincount(np.searchsorted([-0.9, 0.2, 1.2], results), minlength=4)
                rows.append((f"S{j:02d}", year, procedure, size[j], *marks, marks[0]))
    names = ["n_participants", "n_2", "n_3", "n_4", "n_5", "n_below_minimum"]
    return pd.DataFrame(rows, columns=["school_id", "year", "procedure", *names])


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    return region()


@pytest.fixture(scope="module")
def small(counts: pd.DataFrame) -> pd.DataFrame:
    """Twenty schools, four procedures, two years: quick to fit."""
    kept = counts["procedure"].isin(PROCEDURES[:4]) & (counts["school_id"] < "S20")
    return counts[kept & (counts["year"] > 2023)].reset_index(drop=True)


@pytest.fixture(scope="module")
def found(counts: pd.DataFrame) -> DetectionResults:
    return detect_schools(None, None, [OFFICIAL, pooled_rule()], counts=counts)


def tables_of(counts: pd.DataFrame) -> Tables:
    return gather(None, None, counts=counts, school_years=None, schools=None, variances=None)


def test_five_pupils_with_ten_procedures_get_a_decision(found: DetectionResults) -> None:
    own = found.schools[found.schools["rule_id"] == "pooled"].set_index("school_id")
    assert set(own["verdict"]) <= ANSWERS
    yes = own["probability"] >= 1 / 3
    assert (own["verdict"] == np.where(yes, "yes", "no")).all()
    assert own["threshold"].to_numpy() == pytest.approx(1 / 3)
    # both sides occur, or the test would show nothing
    assert set(own["verdict"]) == ANSWERS


def test_only_a_school_without_counts_is_insufficient(small: pd.DataFrame) -> None:
    schools = pd.DataFrame({"school_id": ["S00", "S99"], "year": 2025, "mean_score": 0.0})
    rule = pooled_rule()
    found = detect_schools(None, None, rule, counts=small, schools=schools)
    own = found.schools.set_index("school_id")
    assert own.loc["S99", "verdict"] == "insufficient_data"
    assert (own.drop("S99")["verdict"] != "insufficient_data").all()
    assert "2024" in found.explain("S99").sentences[0]


def test_a_school_of_one_procedure_cannot_have_two(small: pd.DataFrame) -> None:
    single = small[(small["school_id"] != "S01") | (small["procedure"] == PROCEDURES[0])]
    found = detect_schools(None, None, pooled_rule(), counts=single)
    own = found.schools.set_index("school_id").loc["S01"]
    assert own["probability"] == 0.0
    assert own["verdict"] == "no"
    assert "one procedure only" in str(own["reason"])


def test_the_share_alone_is_one_threshold(counts: pd.DataFrame, found: DetectionResults) -> None:
    bare = counts[["school_id", "year", "procedure", "n_participants", "n_below_minimum"]]
    share = detect_schools(None, None, pooled_rule(), counts=bare)
    own = found.schools[found.schools["rule_id"] == "pooled"]
    both = np.corrcoef(share.schools["probability"], own["probability"].to_numpy())[0, 1]
    assert 0.8 < both < 1.0  # the same schools, with less information
    assert any("Only the share" in note for note in share.notes)
    assert not any("Only the share" in note for note in found.notes)


def test_marks_that_do_not_sum_are_read_as_a_share(small: pd.DataFrame) -> None:
    """One cell without its marks: that procedure and year is read by its share, and it is said."""
    gap = small.copy()
    gap["n_4"] = gap["n_4"].astype(float)
    gap.loc[3, "n_4"] = np.nan
    share = detect_schools(None, None, pooled_rule(), counts=gap)
    assert any("Only the share" in note and gap.loc[3, "procedure"] in note for note in share.notes)


def test_draws_have_the_moments_of_their_normal_posterior(counts: pd.DataFrame) -> None:
    """Φ⁻¹ of a share is normal given the spreads: its mean is that of the mode."""
    model = pooled_fit(tables_of(counts), counts, YEARS)
    shares = long_run_shares(model.fit, model.data, n_draws=3000)
    assert shares.shares.dtype == np.float32
    assert shares.shares.shape == (3000, 40, 10)
    fit, data = model.fit, model.data
    scales = fit.scales
    s = np.sqrt(1 + scales.year**2 + scales.cell**2)
    j, p = 7, 3
    effects = fit.state.point.effects[j]
    at = data.places["procedure"] + p
    location = scales.school * effects[0] + scales.procedure * effects[at]
    borders = np.unique(data.thresholds[data.procedure == p, 0])
    by_year = special.ndtr((fit.state.point.fixed[borders] - location) / s)
    drawn = shares.shares[:, j, p]
    # the share is curved in the location: half the curvature times the variance is under .01 here
    assert drawn.mean() == pytest.approx(by_year.mean(), abs=0.01 + 4 * drawn.std() / np.sqrt(3000))
    low, middle, high = shares.quantiles()[:, j, p]
    assert low < middle < high
    mean, sd = shares.moments()
    assert mean[j, p] == pytest.approx(drawn.mean(), abs=1e-6)
    assert sd[j, p] == pytest.approx(drawn.std(ddof=1), rel=1e-4)


def test_blocks_and_seeds(small: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pooled_fit(tables_of(small), small, YEARS[1:])
    whole = long_run_shares(model.fit, model.data, n_draws=50, random_state=3)
    monkeypatch.setattr("resilience.stats.marks.long_run._BLOCK_BYTES", 4.0 * 50 * 4 * 7)
    blocks = list(long_run_blocks(model.fit, model.data, n_draws=50, random_state=3))
    assert [len(b.school_codes) for b in blocks] == [7, 7, 6]
    np.testing.assert_array_equal(np.concatenate([b.shares for b in blocks], axis=1), whole.shares)
    other = long_run_shares(model.fit, model.data, n_draws=50, random_state=4)
    assert not np.array_equal(other.shares, whole.shares)
    with pytest.raises(SpecificationError):
        long_run_shares(model.fit, model.data, n_draws=0)
    with pytest.raises(SpecificationError):
        long_run_shares(model.fit, model.data, mark=3)
    monkeypatch.setattr("resilience.stats.marks.long_run._MOST_BYTES", 1000)
    with pytest.raises(SpecificationError, match="GB"):
        long_run_shares(model.fit, model.data, n_draws=50)


def test_probability_by_hand() -> None:
    """Two draws, two schools, three procedures of which the second school sat two."""
    shares = np.array(
        [[[0.4, 0.3, 0.1], [0.5, 0.1, 0.9]], [[0.2, 0.1, 0.6], [0.3, 0.35, 0.2]]],
        dtype=np.float32,
    )
    sat = np.array([[True, True, True], [True, True, False]])
    long = LongRunShares(shares=shares, sat=sat, school_codes=np.arange(2))
    np.testing.assert_array_equal(long.reached(), [[2, 1], [1, 2]])  # .3 is at least .3
    np.testing.assert_array_equal(long.probability(), [0.5, 0.5])
    np.testing.assert_array_equal(long.probability(procedures=1), [1.0, 1.0])
    np.testing.assert_array_equal(long.probability(procedures="all"), [0.0, 0.5])
    np.testing.assert_array_equal(long.probability(among="all"), [0.5, 1.0])
    np.testing.assert_array_equal(long.above(0.3)[1], [1.0, 0.5, 0.5])
    for wrong in ({"at_least": 30.0}, {"procedures": 0}):
        with pytest.raises(SpecificationError):
            long.probability(**wrong)


def test_higher_bounds_and_more_procedures_are_nested(small: pd.DataFrame) -> None:
    tables = tables_of(small)
    rules = [
        pooled_rule(at_least=b, procedures_at_least=k) for b, k in ((0.3, 2), (0.4, 2), (0.3, 4))
    ]
    p = [judge_pooled(tables, rule, rule.criteria[0]).probability for rule in rules]
    assert (p[1] <= p[0]).all()
    assert (p[2] <= p[0]).all()
    assert len(tables.cache) == 1  # one fit for all rules of a call


def test_years_that_count(small: pd.DataFrame) -> None:
    tables = tables_of(small)
    for rule, years in (
        (pooled_rule(), YEARS[1:]),
        (pooled_rule(years_of=2), YEARS[1:]),
        (pooled_rule(years="latest"), YEARS[2:]),
    ):
        own = judge_pooled(tables, rule, rule.criteria[0])
        assert f"Pooled over {', '.join(map(str, years))}:" in str(own.reason[0])
        assert own.long_run is not None
        n = small[(small["school_id"] == "S00") & small["year"].isin(years)]
        sat = own.long_run[own.long_run["school_id"] == "S00"]["n_participants"].sum()
        assert sat == n["n_participants"].sum()


def test_bad_regions_are_refused(counts: pd.DataFrame) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)  # one school is few, too
        with pytest.raises(DataError, match="region"):
            detect_schools(None, None, pooled_rule(), counts=counts[counts["school_id"] == "S00"])
    bare = counts[["school_id", "year", "procedure", "n_participants"]]
    with pytest.raises(DataError, match="both sides"):
        detect_schools(None, None, pooled_rule(), counts=bare.assign(n_below_minimum=0))


# -- why two verdicts differ -------------------------------------------------------------------


def hand_made(cells: list[tuple[int, str, int, int]], official: str, companion: str) -> str:
    """Return the word for one school with these (year, procedure, n, f) and verdicts."""
    schools = pd.DataFrame(
        {
            "school_id": "A",
            "rule_id": [OFFICIAL.id, "pooled"],
            "verdict": [official, companion],
            "probability": [np.nan, 0.4],
        }
    )
    names = ["year", "procedure", "n_participants", "n_below_minimum"]
    table = pd.DataFrame(cells, columns=names).assign(school_id="A")
    results = DetectionResults(
        schools=schools,
        criteria=pd.DataFrame(),
        rules=(OFFICIAL, pooled_rule()),
        cells=table,
    )
    frame = results.why_they_differ(OFFICIAL.id, "pooled")
    assert set(frame.columns) <= set(column_names())
    sentence = frame["explanation"].iloc[0]
    assert re.search("[а-я]{4}", sentence.ru)
    assert "{" not in sentence + sentence.ru
    return str(frame["why_they_differ"].iloc[0])


LARGE_BAD = [(2025, "a", 40, 16), (2025, "b", 40, 16)]
LARGE_GOOD = [(2024, "a", 40, 4), (2024, "b", 40, 4), (2023, "a", 40, 4), (2023, "b", 40, 4)]


@pytest.mark.parametrize(
    ("cells", "official", "companion", "word"),
    [
        (LARGE_BAD, "yes", "yes", "agree"),
        ([(2025, "a", 5, 2), (2025, "b", 10, 3), (2024, "a", 5, 0)], "yes", "no", "few pupils"),
        ([(2025, "a", 11, 4), (2025, "b", 11, 4), (2024, "a", 11, 0)], "yes", "no", "one bad year"),
        (LARGE_BAD + LARGE_GOOD, "yes", "no", "one bad year"),
        (
            [(2025, "a", 40, 16), (2024, "a", 40, 16), (2025, "b", 40, 4), (2024, "b", 40, 4)],
            "yes",
            "no",
            "one procedure",
        ),
        (LARGE_BAD, "yes", "no", "close to the line"),
        (
            [(2025, "a", 40, 11), (2025, "b", 40, 11), (2024, "a", 40, 10)],
            "no",
            "yes",
            "just under the line in many",
        ),
        (
            [(2024, "a", 40, 20), (2024, "b", 40, 20), (2025, "a", 40, 6), (2025, "b", 40, 7)],
            "no",
            "yes",
            "earlier years",
        ),
        ([(2025, "a", 40, 16), (2025, "b", 40, 3)], "no", "yes", "close to the line"),
        (LARGE_BAD, "not_applicable", "yes", "no answer"),
        (LARGE_BAD, "insufficient_data", "yes", "no answer"),
        (LARGE_BAD, "yes", "insufficient_data", "no answer"),
    ],
)
def test_rules_of_thumb(
    cells: list[tuple[int, str, int, int]], official: str, companion: str, word: str
) -> None:
    assert hand_made(cells, official, companion) == word


def test_a_guarded_rule_differs_by_few_pupils(small: pd.DataFrame) -> None:
    guarded = Criteria.preset("low_results_2025_or_guarded")
    found = detect_schools(None, None, [guarded, pooled_rule()], counts=small)
    why = found.why_they_differ(guarded.id, "pooled").set_index("school_id")
    assert why.loc["S00", "official"] == "insufficient_data"
    assert why.loc["S00", "why_they_differ"] == "few pupils"


def test_only_fitting_rules_are_compared(found: DetectionResults) -> None:
    with pytest.raises(SpecificationError):
        found.why_they_differ("pooled", "pooled")
    with pytest.raises(SpecificationError):
        found.why_they_differ(OFFICIAL.id, OFFICIAL.id)
    with pytest.raises(DataError, match="pooled"):
        found.why_they_differ(OFFICIAL.id, "poled")


def test_tables_and_words_in_both_languages(found: DetectionResults) -> None:
    for table in (found.long_run, found.cells, found.why_they_differ(OFFICIAL.id, "pooled")):
        assert set(table.columns) <= set(column_names())
        assert len(table) > 0
    rows = found.long_run
    assert (rows["long_run_low"] <= rows["long_run_share"]).all()
    assert (rows["long_run_share"] <= rows["long_run_high"]).all()
    lines = found.criteria[found.criteria["rule_id"] == "pooled"]
    assert set(lines["scale"]) == {"procedures"}
    why = found.why_they_differ(OFFICIAL.id, "pooled").set_index("school_id")
    differ = why.index[why["why_they_differ"] != "agree"]
    assert len(differ) > 0
    for lang in ("en", "ru"):
        said = str(found.explain(differ[0], lang=lang))
        assert why.loc[differ[0], "explanation"].localized(lang) in said
    agreed = why.index[why["why_they_differ"] == "agree"][0]
    assert len(found.explain(agreed).sentences) == 2  # one per rule, none on a difference
