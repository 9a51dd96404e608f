"""The quadrant draws what the verdicts hold and names whom they name."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import resilience as rs
from resilience.detection import Criteria
from resilience.plotting.canvas import figure_bytes
from resilience.plotting.quadrant import plot_quadrant


@pytest.fixture(scope="module")
def region():
    rng, n = np.random.default_rng(8), 90
    ids = [f"S{k:02d}" for k in range(n)]
    c, A, variance = rng.normal(50, 10, n), rng.uniform(20, 200, n), 0.13
    d = 0.01 * (c - 50) + 0.36 * rng.normal(size=n) + rng.normal(size=n) / np.sqrt(A)
    d[np.argsort(c)[:4]] = 0.9
    trust = variance * A / (1 + variance * A)
    effects = pd.DataFrame(
        {
            "school_id": ids,
            "effect": trust * d,
            "conditional_sd": np.sqrt(variance * (1 - trust)),
            "reliability": trust,
            "n_pupils": 50,
            "n_years": 3,
        }
    )
    scores = pd.DataFrame(
        {
            "school_id": ids,
            "context_index": c + 2 * rng.normal(size=n),
            "context_index_std_error": 2.0,
            "context_reliability": 0.96,
        }
    )
    schools = pd.DataFrame({"school_id": ids, "is_selective": np.arange(n) % 15 == 7})
    posterior = Criteria.preset("resilient_posterior")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        found = rs.detect_schools(effects, scores, posterior, schools=schools)
    return found, effects, scores


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_listed_schools_are_named_and_selective_ones_hollow(region, lang):
    found = region[0]
    ax = plot_quadrant(found, lang=lang)
    listed = set(found.schools.loc[found.schools["verdict"] == "yes", "school_id"])
    assert len(listed) >= 3
    assert {t.get_text() for t in ax.texts} == listed
    shown = [c for c in ax.collections if len(c.get_offsets())]
    assert sum(len(c.get_offsets()) for c in shown if c.get_zorder() in (3, 2.5)) == 90
    hollow = next(c for c in shown if c.get_zorder() == 2.5)
    assert len(hollow.get_offsets()) == (found.schools["verdict"] == "not_applicable").sum() == 6
    assert not len(hollow.get_facecolors())
    legend = " ".join(t.get_text() for t in ax.get_legend().get_texts())
    assert str(len(listed)) in legend
    assert ("listed" in legend) == (lang == "en")


def test_lines_and_shades_are_those_of_the_verdicts(region):
    found = region[0]
    ax = plot_quadrant(found)
    row = found.working.iloc[0]
    across = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 2]
    up = [line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) == 2]
    assert row["gate"] in across
    assert row["delta"] in up
    shaded = next(c for c in ax.collections if c.get_zorder() == 3)
    p = found.schools.loc[found.schools["verdict"] != "not_applicable", "probability"]
    np.testing.assert_allclose(np.sort(shaded.get_array()), np.sort(p))
    assert (shaded.norm.vmin, shaded.norm.vmax) == (0, 1)


def test_names_never_overlap(region):
    found = region[0]
    ax = plot_quadrant(found, names={"S00": "A long name of a school" * 3})
    ax.figure.draw_without_rendering()
    boxes = [t.get_window_extent() for t in ax.texts]
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_the_same_figure_on_a_second_run(region):
    assert figure_bytes(plot_quadrant(region[0]), "png") == figure_bytes(
        plot_quadrant(region[0]), "png"
    )


def test_a_rule_without_both_probabilities_is_refused(region):
    found, effects, scores = region
    with pytest.raises(rs.DataError, match="low_posterior"):
        plot_quadrant(found, rule_id="low_posterior")
    adverse = rs.detect_schools(effects, scores, Criteria.preset("adverse_context"))
    with pytest.raises(rs.SpecificationError, match="resilient_posterior"):
        plot_quadrant(adverse)
    with pytest.raises(rs.SpecificationError, match="adverse_context"):
        plot_quadrant(adverse, rule_id="adverse_context")
    posterior = Criteria.preset("resilient_posterior")
    both = rs.detect_schools(
        effects, scores, [posterior, posterior.amend(id="other").amend("adversity", at_most=0.3)]
    )
    with pytest.raises(rs.SpecificationError, match="other"):
        plot_quadrant(both)


def test_schools_without_an_index_are_counted_not_dropped(region):
    _, effects, scores = region
    posterior = Criteria.preset("resilient_posterior")
    holes = scores.assign(context_index=scores["context_index"].where(np.arange(90) >= 5))
    found = rs.detect_schools(effects, holes, posterior)
    ax = plot_quadrant(found)
    legend = [t.get_text() for t in ax.get_legend().get_texts()]
    assert any(words.endswith(": 5") and "not drawn" in words for words in legend)
    shown = [c for c in ax.collections if len(c.get_offsets()) and c.get_zorder() in (3, 2.5)]
    assert sum(len(c.get_offsets()) for c in shown) == 85


def test_a_school_stands_where_the_rule_sees_it(region):
    found = region[0]
    ax = plot_quadrant(found)
    shaded = next(c for c in ax.collections if c.get_zorder() == 3)
    places = {tuple(np.round(p, 9)) for p in np.asarray(shaded.get_offsets())}
    row = found.schools.merge(found.working[["school_id", "context_shrunken"]], on="school_id")
    row = row[row["verdict"] != "not_applicable"]
    judged = zip(row["context_shrunken"].round(9), row["effect_net"].round(9), strict=True)
    assert places == set(judged)
