"""Draw regions, let every rule judge them, and keep who was listed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.simulator.draws import BLOCK, Draw, Truth, draw_block
from resilience.detection.simulator.judge import ArrayJudge, is_pooled
from resilience.detection.simulator.layout import Layout
from resilience.detection.simulator.shares import TrueShares
from resilience.detection.simulator.tables import Lists
from resilience.stats.lists.share_moments import FailureParts

__all__ = ["Scene", "pooled_replicates", "run"]

Flags = NDArray[np.bool_]

_POOLED_EVERY = 200  # replicates: the ordinal model of a region takes two seconds each time


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


def pooled_replicates(n_replicates: int) -> int:
    """Return how many replicates judge a rule that refits the ordinal model of the region."""
    return min(n_replicates, max(3, n_replicates // _POOLED_EVERY), BLOCK)


def run(
    rng: np.random.Generator, scene: Scene, rules: tuple[Criteria, ...], n_replicates: int
) -> tuple[list[Lists], NDArray[np.float64]]:
    """Draw and judge block by block; return the lists of each rule and the mean true shares."""
    layout = scene.layout
    judges = {r.id: ArrayJudge(r, layout) for r in rules}
    outside = {r.id: layout.outside(r) for r in rules}
    found: dict[str, list[tuple[Flags, Flags, Flags, Flags]]] = {r.id: [] for r in rules}
    total = np.zeros(len(layout.school_ids))
    done = 0
    while done < n_replicates:
        block = min(BLOCK, n_replicates - done)
        drawn = scene.draw(rng, block)
        total += drawn.share.sum(axis=0)
        for rule in rules:
            judge, failing, true = judges[rule.id], drawn.failing, drawn.true
            if is_pooled(rule):
                if done:
                    continue
                few = pooled_replicates(n_replicates)
                failing, true = failing[:few], true[:few]
            listed, unknown = judge.verdicts(failing, layout.last)
            later = judge.verdicts(failing, layout.last + 1)[0]
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
