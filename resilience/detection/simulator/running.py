"""Draw regions, let every rule judge them, and keep who was listed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.simulator.draws import BLOCK, Draw, Truth, draw_block
from resilience.detection.simulator.judge import ArrayJudge, is_pooled
from resilience.detection.simulator.layout import Layout
from resilience.detection.simulator.shares import TrueShares
from resilience.detection.simulator.tables import Lists
from resilience.detection.verdicts.detect import detect_schools
from resilience.errors import WeakDataWarning
from resilience.stats.share_moments import FailureParts

__all__ = ["POOLED_REPLICATES", "Scene", "run"]

Flags = NDArray[np.bool_]

POOLED_REPLICATES = 10  # of rules that refit the ordinal model of the region in each replicate


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a simulation draws from.

    Attributes
    ----------
    layout : Layout
        Sizes of the cells.
    shares : TrueShares
        How true shares come about.
    parts : FailureParts
        Variances within schools.
    truth : str
        What truly low means.
    truth_share : float
        From which share on.
    """

    layout: Layout
    shares: TrueShares
    parts: FailureParts
    truth: Truth
    truth_share: float

    def draw(self, rng: np.random.Generator, n_replicates: int) -> Draw:
        """Return simulated regions."""
        return draw_block(
            rng,
            self.layout,
            self.shares,
            self.parts,
            truth=self.truth,
            truth_share=self.truth_share,
            n_replicates=n_replicates,
        )


def run(
    rng: np.random.Generator, scene: Scene, rules: tuple[Criteria, ...], n_replicates: int
) -> tuple[list[Lists], NDArray[np.float64]]:
    """Draw and judge block by block; return the lists of each rule and the mean true shares."""
    layout = scene.layout
    judges = {r.id: ArrayJudge(r, layout) for r in rules if not is_pooled(r)}
    outside = {r.id: _selective(layout, r) for r in rules}
    found: dict[str, list[tuple[Flags, Flags, Flags, Flags]]] = {r.id: [] for r in rules}
    total = np.zeros(len(layout.school_ids))
    done = 0
    while done < n_replicates:
        block = min(BLOCK, n_replicates - done)
        drawn = scene.draw(rng, block)
        total += drawn.share.sum(axis=0)
        for rule in rules:
            if rule.id in judges:
                judge = judges[rule.id]
                listed, unknown = judge.verdicts(drawn.failing, layout.last)
                later = judge.verdicts(drawn.failing, layout.last + 1)[0]
                true = drawn.true
            elif done == 0:
                listed, unknown, later = _pooled(rule, layout, drawn)
                true = drawn.true[: len(listed)]
            else:
                continue
            inside = ~outside[rule.id]
            found[rule.id].append((listed & inside, unknown & inside, later & inside, true))
        done += block
    lists = [
        Lists(
            rule_id=rule.id,
            **dict(
                zip(
                    ("listed", "unknown", "later", "true"),
                    (np.concatenate(a) for a in zip(*found[rule.id], strict=True)),
                    strict=True,
                )
            ),
        )
        for rule in rules
    ]
    return lists, total / n_replicates


def _selective(layout: Layout, rule: Criteria) -> Flags:
    """Return the schools that a rule leaves aside because they select their pupils."""
    schools = layout.tables.schools
    if not rule.exclude_selective or schools is None or "is_selective" not in schools.columns:
        return np.zeros(len(layout.school_ids), dtype=bool)
    chosen = layout.tables.latest("schools", rule.id, rule.year)["is_selective"]
    return np.asarray(chosen.isin([True]).to_numpy(dtype=bool))


def _pooled(rule: Criteria, layout: Layout, drawn: Draw) -> tuple[Flags, Flags, Flags]:
    """Judge the first replicates by `detect_schools`, this year and the next."""
    rows = min(POOLED_REPLICATES, len(drawn.failing))
    answers = np.zeros((3, rows, len(layout.school_ids)), dtype=bool)
    for r in range(rows):
        for k, at in enumerate((layout.last, layout.last + 1)):
            verdict = _detected(rule, layout, drawn.failing[r], at)
            answers[2 if k else 0, r] = verdict == "yes"
            if not k:
                answers[1, r] = verdict == "insufficient_data"
    return answers[0], answers[1], answers[2]


def _detected(
    rule: Criteria, layout: Layout, failing: NDArray[np.int32], at: int
) -> NDArray[np.object_]:
    """Return the verdicts of the library itself on one simulated table."""
    s, p, t = np.nonzero(layout.n[:, :, : at + 1])
    table = pd.DataFrame(
        {
            "school_id": layout.school_ids[s],
            "procedure": np.array(layout.procedures, dtype=object)[p],
            "year": np.array(layout.years)[t],
            "n_participants": layout.n[s, p, t],
            "n_below_minimum": failing[s, p, t],
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakDataWarning)  # said once about the region itself
        found = detect_schools(
            None,
            None,
            rule.amend(year=layout.years[at]),
            counts=table,
            schools=layout.tables.schools,
        )
    verdicts = found.schools.set_index("school_id")["verdict"].reindex(layout.school_ids)
    return verdicts.fillna("insufficient_data").to_numpy(dtype=object)
