"""What every class of results promises, checked on one example of each class there is."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pickle
import pkgutil
import re
import warnings
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

import resilience
import resilience as rs
from resilience.columns import column, column_names
from resilience.pipeline import AnnualResults
from resilience.results import Results
from resilience.value_added import (
    EffectsResults,
    OrdinalSchoolResults,
    SchoolLevelResults,
    ValueAddedResults,
)
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.fits.refits import RefitMethods

CYRILLIC = re.compile("[А-Яа-яЁё]{3}")
# Names made of the user's own: a rule's id, an intake column whose school mean was asked for, a
# choice of a multiverse, the columns that name a pupil's several schools, scaled columns and the
# expectations that are compared.
MADE_OF_NAMES = re.compile(
    r"verdict_.+|.+_mean|.+_missing|choice_.+|.+ \(largest share\)|z: .+|expected: .+"
    r"|equal|supervised|mahalanobis|regression"
)


Examples = dict[str, tuple[Results, pd.DataFrame]]

# what others build on and no model returns
BASES = {EffectsResults, PupilFit, RefitMethods}


def concrete_classes() -> set[type]:
    """Return every concrete class of results, whichever room it lives in."""
    for module in pkgutil.walk_packages(resilience.__path__, "resilience."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, todo = set(), [Results]
    while todo:
        for kind in todo.pop().__subclasses__():
            todo.append(kind)
            if kind.__module__.startswith("resilience."):
                found.add(kind)
    return found - BASES


def pupil_models() -> dict[str, tuple[ValueAddedResults, pd.DataFrame]]:
    """Return value-added results of every shape with the frame behind them."""
    rng = np.random.default_rng(0)
    n = 600
    school = rng.permutation(np.r_[np.arange(24), rng.integers(0, 24, n - 24)])
    prior, ses = rng.normal(size=n), rng.normal(size=n) + 0.4 * rng.normal(size=24)[school]
    u, v = rng.normal(size=(24, 2)) * [0.5, 0.3], 0.5 * rng.normal(size=12)
    year = rng.integers(2022, 2025, size=n)
    score = 0.5 * prior + 0.2 * ses + u[school, 0] + u[school, 1] * prior + v[school % 12]
    score = score + 0.5 * rng.normal(size=(24, 3))[school, year - 2022]
    frame = pd.DataFrame(
        {
            "municipality_id": [f"M{k % 12:02d}" for k in school],
            "school_id": [f"S{k:02d}" for k in school],
            "year": year,
            "prior_score": prior,
            "ses": ses,
            "score": score + rng.normal(size=n),
        }
    )
    formula = "score ~ prior_score + ses"
    plain = rs.ValueAddedModel(formula, group="school_id")
    full = rs.ValueAddedModel(
        formula,
        group=["municipality_id", "school_id"],
        slopes={"municipality_id": ["ses"], "school_id": ["prior_score"]},
        time="year",
        intake=rs.Intake(composition={"ses": "latent"}),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)  # a singular fit is an example too
        return {
            "pupils": (plain.fit(frame), frame),
            "pupils, every option": (full.fit(frame), frame),
            **further_models(plain, frame),
        }


def further_models(
    plain: rs.ValueAddedModel, frame: pd.DataFrame
) -> dict[str, tuple[ValueAddedResults, pd.DataFrame]]:
    """Return fits with units that cross, shared pupils, drifting years and joint subjects."""
    formula = plain.formula
    rng = np.random.default_rng(4)
    other = rng.permutation(frame["school_id"].to_numpy())
    share = rng.choice([0.5, 1.0], size=len(frame))
    moved = frame.assign(earlier_id=other, own=share, rest=1.0 - share)
    long = pd.concat([frame.assign(subject=s) for s in ("МА", "РУ")], ignore_index=True)
    long["pupil_key"] = np.tile(np.arange(len(frame)), 2)
    long["score"] += rng.normal(size=len(long))
    joint = rs.Structure(outcome_group="subject", unit="pupil_key")
    members = rs.Membership(unit=["school_id", "earlier_id"], weight=["own", "rest"])
    drift = replace(plain, time="year", structure=rs.Structure(drift="unstructured"))
    crossed = rs.ValueAddedModel(formula, crossed=["earlier_id", "school_id"])
    subjects = replace(plain, formula="score ~ C(subject) * prior_score", structure=joint)
    return {
        "pupils, drift": (drift.fit(frame), frame),
        "pupils, crossed": (crossed.fit(moved), moved),
        "pupils, shared": (rs.ValueAddedModel(formula, members=members).fit(moved), moved),
        "pupils, subjects": (subjects.fit(long), long),
    }


def refit_examples(va: ValueAddedResults, frame: pd.DataFrame) -> Examples:
    """Return what results of value added make of themselves."""
    plain = rs.ValueAddedModel(va.formula, group="school_id")
    slopes = replace(plain, slopes="prior_score")
    wider = slopes.fit(frame)
    return {
        "bootstrap": (va.bootstrap(20), va.fixed_effects),
        "influence": (va.influence(["S00", "S01"]), frame),
        "likelihood ratio": (rs.anova(va, wider), frame),
        "comparison": (rs.ValueAddedModel.compare({"A": plain, "B": slopes}, frame), frame),
    }


def value_added_examples(plain: ValueAddedResults, frame: pd.DataFrame) -> Examples:
    """Return what the layer above the fits makes of one: types, errors, gaps, years, growth."""
    rng = np.random.default_rng(8)
    holed = frame.assign(
        ses=frame["ses"].mask(rng.random(len(frame)) < 0.2), stayed=rng.random(len(frame)) < 0.8
    )
    impute = rs.Intake(missing="impute", n_imputations=3)
    imputed = replace(plain.definition, intake=impute).fit(holed)
    composed = replace(plain.definition, intake=rs.Intake(composition=["ses"])).fit(frame)
    priors = plain.prior_error(frame, reliability=0.9, n_simulations=10)
    yearly = rs.ValueAddedModel("score ~ prior_score", group="school_id", time="year")
    growth = rs.GrowthPercentiles(prior="prior_score", min_cohort=200)
    return {
        "types": (composed.types(), frame),
        "prior error": (priors, frame),
        "simex": (priors.simex, frame),
        "imputed": (imputed, holed),
        "missing": (imputed.missing, holed),
        "selection": (rs.selection_bounds(plain, holed), holed),
        "stayers": (rs.beside_stayers(plain, holed), holed),
        "validated years": (rs.validate_years(yearly, frame, holdout=2024), frame),
        "joint regions": (rs.joint_regions(yearly.fit(frame)), frame),
        "check": (plain.check(frame), frame),
        "persistence": persistence_example(),
        "growth": (growth.fit(frame, n_bootstrap=20), frame),
    }


def persistence_example() -> tuple[Results, pd.DataFrame]:
    classes = rs.simulate_classrooms(400, class_size=25, n_schools=2)
    model = rs.PersistenceModel("score ~ prior_score + C(year)")
    return model.fit(classes.rows, classes.links), classes.links


def mean_model() -> tuple[SchoolLevelResults, pd.DataFrame]:
    rng = np.random.default_rng(1)
    school = np.repeat(np.arange(30), 3)
    n = rng.integers(5, 60, size=90)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": np.tile([2022, 2023, 2024], 30),
            "n_pupils": n,
            "mean_score": rng.normal(size=30)[school]
            + rng.normal(size=90) * np.sqrt(0.2 + 1.0 / n),
        }
    )
    model = rs.SchoolLevelModel("mean_score ~ 1", time="year", n="n_pupils", sd=1.0)
    return model.fit(frame), frame


def mark_model() -> tuple[OrdinalSchoolResults, pd.DataFrame]:
    rng = np.random.default_rng(2)
    school, year, procedure = (a.ravel() for a in np.indices((20, 3, 3)))
    u, w = rng.normal(size=20) * 0.4, rng.normal(size=(20, 3)) * 0.2
    latent = (u[school] + w[school, procedure])[:, None] + rng.normal(size=(len(school), 15))
    marks = np.searchsorted([-1.0, 0.2, 1.1], latent)
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in school],
            "year": 2022 + year,
            "procedure": np.array(["ВПР-5-МА", "ВПР-5-РУ", "ОГЭ-МА"])[procedure],
            "cohort": np.where(procedure < 2, 2026 + year, 2022 + year),
            "low_income": rng.uniform(size=20)[school],
            **{f"n_{k + 2}": (marks == k).sum(axis=1) for k in range(4)},
        }
    )
    model = rs.OrdinalSchoolModel(
        "~ low_income",
        cohort=rs.Cohort(column="cohort"),
        parts=rs.MarkParts(spread=True, procedure_spread=True),
    )
    return model.fit(frame), frame


def examples_of_chance(region: rs.Dataset) -> Examples:
    """Return how a rule works by chance, resilient pupils and the funnel of shares."""
    rule = rs.Criteria.preset("low_results_2025_or")
    simulated = rs.simulate_rule(rule, region.counts, schools=region.schools, n_replicates=20)
    pupils = rs.resilient_pupils(region.pupils, "oecd_national", n_bootstrap=50)
    funnel = rs.share_funnel(region.counts, procedure="ОГЭ-МА")
    return {
        "rule simulation": (simulated, region.schools),
        "resilient pupils": (pupils, region.pupils),
        "share funnel": (funnel, region.counts[["school_id", "year"]]),
    }


def examples_of_integrity(region: rs.Dataset) -> Examples:
    marks, schools = region.score_histograms, region.schools
    latest = marks[marks["year"] == 2025]
    own = latest[latest["procedure"].str.startswith("ВПР")]
    last = schools[schools["year"] == 2025]
    adjacent = rs.adjacent_scores(own, rs.mark_borders(region.procedures))
    objective = rs.objectivity_markers(latest, schools=schools)
    markers = rs.integrity_markers(marks[marks["year"] >= 2024], adjacent=adjacent, schools=last)
    rule = rs.Criteria.preset("low_results_2025_or")
    switch = rs.without_suspicious(None, None, rule, flags=markers.flags, counts=region.counts)
    return {
        "adjacent scores": (adjacent, last),
        "objectivity markers": (objective, last),
        "integrity markers": (markers, last),
        "integrity switch": (switch, last),
    }


def examples_of_years(region: rs.Dataset) -> Examples:
    """Return statuses, one of them beside what no change would have given, and a forecast."""
    rule = rs.Criteria.preset("low_results_2025_or")
    found = {
        year: rs.detect_schools(None, None, rule.amend(year=year), counts=region.counts)
        for year in (2023, 2024, 2025)
    }
    schools = region.schools[["school_id", "year"]]
    one_row = region.schools[["school_id"]].drop_duplicates()
    agreed = list(found[2024].listed()["school_id"])
    scores = mean_model()[1].rename(columns={"mean_score": "score"})
    place = scores.groupby("year")["score"].rank()
    verdict = np.where(place <= 10, "yes", "no")
    lowest = rs.list_status(scores[["school_id", "year"]].assign(verdict=verdict))
    against = lowest.against_null(
        scores[["school_id", "year", "score"]], positive_dynamics="sign", n_draws=200
    )
    warning = rs.early_warning(region.counts, rule=rule, schools=region.schools, n_draws=60)
    return {
        "status": (rs.list_status(found), schools),
        "status against chance": (against, scores[["school_id", "year"]]),
        "comparison of lists": (rs.compare_lists(found[2025], agreed), one_row),
        "early warning": (warning, one_row),
    }


def clustering_examples(region: rs.Dataset, annual: AnnualResults) -> Examples:
    """Return schools in groups, beside their neighbours and in bands of conditions."""
    schools = region.schools
    last = schools[schools["year"] == 2025].reset_index(drop=True)
    conditions = rs.Conditions(
        continuous=["n_pupils", "remoteness_km"], shares=["single_parent", "low_income"]
    )
    model = rs.ClusterModel(conditions, n_clusters=3)
    clusters = model.fit(schools, random_state=1)
    quick = rs.SelectionSettings(n_references=10, n_splits=5, n_resamples=10, n_init=1)
    selection = rs.select_n_clusters(clusters.scaled, k=(2, 3), settings=quick, random_state=1)
    near = rs.StatisticalNeighbours(conditions).fit(schools)
    rules = rs.Criteria.preset("resilient_posterior")
    assert annual.index is not None
    inside = rs.detect_within_groups(
        annual.va.school_effects,
        annual.index.scores,
        rules,
        groups="is_rural",
        schools=annual.schools,
    )
    towns = last[["municipality_id"]].drop_duplicates()
    places = schools.assign(
        municipality_id=[f"M{int(s[1:]) % 24:02d}" for s in schools["school_id"]]
    )
    municipal = rs.MunicipalClusters(conditions, n_clusters=2, n_resamples=50).fit(places)
    against = rs.compare_with_neighbours(near, last, pupil_sd=0.9, regression=annual.va)
    years = rs.clusters_over_years(model, schools, years=[2024, 2025], random_state=1)
    return {
        "conditions": (clusters.scaled, last),
        "clusters": (clusters, last),
        "number of clusters": (selection, pd.DataFrame({"k": [2, 3]})),
        "cluster stability": (rs.cluster_stability(clusters, n_resamples=10), last),
        "two groupings": (rs.compare_partitions(clusters, clusters), last),
        "clusters over years": (years, schools[["school_id", "year"]]),
        "cluster outcomes": (rs.cluster_outcomes(clusters, schools, column="mean_score"), last),
        "clusters by municipality": (rs.clusters_by_municipality(clusters), towns),
        "settlement mix": (rs.settlement_mix(clusters, n_redraws=5, random_state=1), last),
        "municipal clusters": (municipal, places[["municipality_id"]].drop_duplicates()),
        "neighbours": (near, last),
        "neighbour overlap": (rs.neighbour_overlap(near, n_resamples=3, random_state=1), last),
        "neighbour comparison": (against, last),
        "neighbour effects": (rs.neighbour_effects(near, last, pupil_sd=0.9), last),
        "neighbour accuracy": (rs.neighbour_accuracy(schools, conditions, next_year=2025), last),
        "detection inside groups": (inside, annual.schools),
        "condition bands": (rs.ContextBands(conditions).fit(schools, random_state=1), last),
    }


def risk_example() -> tuple[Results, pd.DataFrame]:
    rng = np.random.default_rng(3)
    items = pd.DataFrame(
        {
            "school_id": [f"S{k:02d}" for k in range(12)] * 2,
            "year": np.repeat([2024, 2025], 12),
            "vacant_share": np.r_[np.nan, rng.uniform(0, 0.3, 23)],
            "weak_motivation": rng.uniform(0, 0.4, 24),
        }
    )
    factors = {factor.id: factor for factor in rs.risk_factors()}
    vacant = rs.RiskItem(column="vacant_share", ok=0.0, critical=0.2)
    staff = factors["teacher_shortage"].measured_by(vacant)
    return rs.risk_profile(items, [staff]), items


@pytest.fixture(scope="module")
def examples() -> dict[str, tuple[Results, pd.DataFrame]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        region = rs.load_dataset("north_region")
        annual = rs.annual_run(region)
        marks = mark_model()
        assert isinstance(annual, AnnualResults)
        assert annual.index is not None
        rules = rs.Criteria.preset("resilient_posterior").grid(
            adversity=[0.25, 0.33], quantile=[0.67, 0.75]
        )
        many = rs.multiverse(annual.va, annual.index, rules, schools=annual.schools)
        keys = annual.index.scores[["school_id", "year"]]
        pupils = pupil_models()
        return {
            **pupils,
            **refit_examples(*pupils["pupils"]),
            **value_added_examples(*pupils["pupils"]),
            "means": mean_model(),
            "marks": marks,
            "annual run": (annual, annual.schools),
            "detection": (annual.found, annual.schools),
            "context index": (annual.index, keys),
            "index sensitivity": (annual.index.sensitivity(n_draws=50), keys),
            "risk profile": risk_example(),
            "multiverse": (many, annual.schools),
            "list robustness": (many.robustness(), annual.schools),
            **examples_of_chance(region),
            **examples_of_integrity(region),
            **examples_of_years(region),
            **clustering_examples(region, annual),
        }


NAMES = [
    "pupils",
    "pupils, every option",
    "pupils, drift",
    "pupils, crossed",
    "pupils, shared",
    "pupils, subjects",
    "bootstrap",
    "influence",
    "likelihood ratio",
    "comparison",
    "types",
    "prior error",
    "simex",
    "imputed",
    "missing",
    "selection",
    "stayers",
    "validated years",
    "joint regions",
    "check",
    "persistence",
    "growth",
    "means",
    "marks",
    "annual run",
    "detection",
    "context index",
    "index sensitivity",
    "risk profile",
    "multiverse",
    "list robustness",
    "rule simulation",
    "resilient pupils",
    "share funnel",
    "adjacent scores",
    "objectivity markers",
    "integrity markers",
    "integrity switch",
    "status",
    "status against chance",
    "comparison of lists",
    "early warning",
    "conditions",
    "clusters",
    "number of clusters",
    "cluster stability",
    "two groupings",
    "clusters over years",
    "cluster outcomes",
    "clusters by municipality",
    "settlement mix",
    "municipal clusters",
    "neighbours",
    "neighbour overlap",
    "neighbour comparison",
    "neighbour effects",
    "neighbour accuracy",
    "detection inside groups",
    "condition bands",
]


@pytest.fixture(params=NAMES)
def example(request, examples):
    return examples[request.param]


def test_every_class_of_results_has_an_example(examples):
    assert set(examples) == set(NAMES)
    assert {type(result) for result, _ in examples.values()} == concrete_classes()


def tables_of(result: Results, data: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return every table a result hands out: fields, methods and properties."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        augmented = result.augment(data)
    found = {
        "tidy()": result.tidy(),
        "glance()": result.glance(),
        "augment()": augmented.drop(columns=list(data.columns)),
    }
    for name in dir(type(result)):
        if not name.startswith("_") and isinstance(getattr(type(result), name), property):
            value = getattr(result, name)
            if isinstance(value, pd.DataFrame):
                found[name] = value
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, pd.DataFrame):
            found[field.name] = value
    for name in ("pairs", "adverse_context", "listed", "flagged", "eliminated"):
        if hasattr(result, name):
            found[f"{name}()"] = getattr(result, name)()
    if hasattr(result, "tables"):
        found |= result.tables()
    if hasattr(result, "explain"):
        found["explain()"] = result.explain(data["school_id"].iloc[0]).table
    return found


def test_every_column_stands_in_the_glossary(example):
    result, data = example
    known = set(column_names())
    for name, table in tables_of(result, data).items():
        unknown = [
            c for c in table.columns if c not in known and not MADE_OF_NAMES.fullmatch(str(c))
        ]
        assert not unknown, (name, unknown)
        for shown in set(table.columns) & known:
            record = column(str(shown))
            assert record.label("en")
            assert CYRILLIC.search(record.label("ru") + record.meaning("ru"))


def test_shapes_of_the_three_tables(example):
    result, data = example
    assert len(result.glance()) == 1
    assert len(result.tidy()) >= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        augmented = result.augment(data)
    assert len(augmented) == len(data)
    assert list(augmented.index) == list(data.index)
    assert set(data.columns) < set(augmented.columns)


def test_tables_are_copies(example):
    result, _ = example
    before, taken = result.tidy(), result.tidy()
    taken[taken.columns[0]] = "changed"
    taken["more"] = 1
    pd.testing.assert_frame_equal(result.tidy(), before)


def test_summary_in_both_languages(example):
    result, _ = example
    english, russian = result.summary(), result.summary("ru")
    assert english.startswith(result.title("en"))
    assert russian.startswith(result.title("ru"))
    assert result.title("en") != result.title("ru")
    assert CYRILLIC.search(result.title("ru"))
    assert english == result.summary("en")
    assert not re.search(r"\bnan\b|\bNone\b|<NA>", english + russian)
    with pytest.raises(rs.SpecificationError, match="'de'"):
        result.summary("de")


def test_html_holds_tables_and_escapes(example):
    result, _ = example
    page = result._repr_html_()
    assert page.startswith("<h4>")
    assert "<table" in page


def test_repr_is_one_short_line_without_traces(example):
    """No object id, date or path, nothing that differs from run to run."""
    result, _ = example
    shown = repr(result)
    assert shown.startswith(f"{type(result).__name__}(")
    assert len(shown) < 400
    assert "\n" not in shown
    assert not re.search(r"0x[0-9a-f]+|\d{4}-\d{2}-\d{2}|[/\\]|np\.|Timestamp", shown)
    assert repr(pickle.loads(pickle.dumps(result))) == shown


def test_to_dict_is_plain(example):
    result, _ = example
    plain = result.to_dict()

    def refuse(value):
        if isinstance(value, date):  # the day of a list is a plain Python object too
            return value.isoformat()
        raise TypeError(f"{type(value).__name__} is not plain")

    assert json.loads(json.dumps(plain, default=refuse, ensure_ascii=False))
    assert set(plain) <= {field.name for field in dataclasses.fields(result)}


def test_results_are_frozen_and_pickle(example):
    result, data = example
    field = dataclasses.fields(result)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, field, None)
    copy = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(copy.tidy(), result.tidy())
    pd.testing.assert_frame_equal(copy.glance(), result.glance())
    assert copy.summary("ru") == result.summary("ru")
    assert len(tables_of(copy, data)) == len(tables_of(result, data))


def test_results_compare_by_identity(example):
    """Tables have no single truth value: two results are equal only if they are one."""
    result, _ = example
    assert result == result
    assert result != pickle.loads(pickle.dumps(result))
    assert hash(result) == hash(result)


def test_a_model_keeps_nothing_of_a_fit():
    model = rs.SchoolLevelModel("mean_score ~ 1", time="year", n="n_pupils", sd=1.0)
    before = repr(model)
    _, frame = mean_model()
    first, second = model.fit(frame), model.fit(frame)
    assert repr(model) == before
    assert first.criterion == second.criterion
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.formula = "other ~ 1"
