"""The verdicts of share criteria on many simulated tables at once.

Says the same as ``verdicts.shares.judge_shares`` and the combination of criteria in
``verdicts.detect``, on arrays instead of tables; the tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import Criterion
from resilience.detection.simulator.answers import Answered
from resilience.detection.simulator.layout import Layout
from resilience.detection.simulator.pooled_counts import judge_pooled_counts
from resilience.detection.simulator.priors import beta_priors
from resilience.detection.verdicts import pooled
from resilience.stats.proportions import BetaPrior

__all__ = ["ArrayJudge", "is_pooled"]

Integers = NDArray[np.int64]
Counts = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

_HAIR = 1e-9  # sums of weights such as .1 + .2 against .3


def is_pooled(rule: Criteria) -> bool:
    """Return whether a criterion needs the ordinal model of all counts."""
    return any(pooled.is_pooled(criterion) for criterion in rule.criteria)


class ArrayJudge:
    """Judge of one rule on one layout.

    Parameters
    ----------
    rule : Criteria
        Share criteria alone; those pooled by the ordinal model refit it for every replicate.
    layout : Layout
        Sizes of the cells.
    prior : mapping of str to BetaPrior, optional
        Prior of each posterior criterion; by default estimated from each simulated table, as the
        verdict on a real table is.
    """

    def __init__(
        self, rule: Criteria, layout: Layout, prior: Mapping[str, BetaPrior] | None = None
    ) -> None:
        self.rule, self.layout = rule, layout
        self.prior = dict(prior or {})
        columns = layout.columns(rule)
        self.columns: slice | Integers = (
            slice(None) if len(columns) == len(layout.procedures) else columns
        )
        self.n = layout.n[:, self.columns, :]
        self.uncleared = layout.uncleared(rule)[:, self.columns]
        self.in_table: Flags = np.asarray((self.n > 0).any(axis=(0, 1)))

    def verdicts(self, failing: Counts, at: int) -> tuple[Flags, Flags]:
        """Return who is listed and who lacks data, both of shape (n_replicates, n_schools).

        Parameters
        ----------
        failing : ndarray of int, shape (n_replicates, n_schools, n_procedures, n_years)
            Simulated counts of the layout.
        at : int
            Index of the year of the verdict.
        """
        own: Counts = failing[:, :, self.columns, :]
        answers = [self._answer(c, own, at) for c in self.rule.criteria]
        yes = np.stack([np.broadcast_to(a.yes, own.shape[:2]) for a in answers])
        unknown = np.stack([np.broadcast_to(a.unknown, own.shape[:2]) for a in answers])
        if self.rule.combination in ("all", "any"):
            k = len(answers) if self.rule.combination == "all" else 1
            found = Answered(yes=yes, unknown=unknown).at_least(k, axis=0)
            return found.yes, found.unknown
        weights = np.array([c.weight for c in self.rule.criteria], dtype=float)
        enough = min(float(self.rule.combination), float(weights.sum())) - _HAIR
        reached = np.tensordot(weights, yes, axes=1)
        possible = reached + np.tensordot(weights, unknown, axes=1)
        return reached >= enough, (reached < enough) & (possible >= enough)

    def _answer(self, criterion: Criterion, failing: Counts, at: int) -> Answered:
        if pooled.is_pooled(criterion):
            return judge_pooled_counts(self.rule, criterion, self.layout, failing, at)
        window = slice(at - criterion.years_of + 1, at + 1)
        if criterion.evidence == "posterior":
            return self._posterior(criterion, failing[..., window], self.n[..., window])
        n, known_year = self.n[..., window], self.in_table[window]
        sat = n > 0
        low, high = _bounds(criterion, n)
        enough = n >= criterion.min_participants
        f = failing[..., window]
        yes = (f >= low) & (f <= high) & (enough & sat)
        unknown = ((sat & ~enough) | ~known_year)[None]
        if self.uncleared.any():
            unknown = unknown | (~yes & sat & self.uncleared[:, :, None])
        cells = Answered(yes=yes, unknown=unknown)
        # a year that is not in the table is unknown, not absent
        there = sat | ~known_year
        found = self._reduce(criterion, cells, there)
        here = there[:, :, -1].any(axis=1)
        return Answered(yes=found.yes & here, unknown=found.unknown | ~here)

    def _reduce(self, criterion: Criterion, cells: Answered, there: Flags) -> Answered:
        """Reduce procedures and years in the criterion's order."""
        if criterion.order == "years":
            lasting = cells.at_least(criterion.years_at_least, axis=-1)
            return _of_procedures(criterion, lasting, np.asarray(there.any(axis=2)))
        if there.shape[-1] == 1:  # one year: no second reduction
            one = Answered(yes=cells.yes[..., 0], unknown=cells.unknown[..., 0])
            return _of_procedures(criterion, one, there[..., 0])
        by_year = [
            _of_procedures(
                criterion,
                Answered(yes=cells.yes[..., t], unknown=cells.unknown[..., t]),
                there[..., t],
            )
            for t in range(there.shape[-1])
        ]
        shape = by_year[0].yes.shape
        return Answered(
            yes=np.stack([a.yes for a in by_year], axis=-1),
            unknown=np.stack([np.broadcast_to(a.unknown, shape) for a in by_year], axis=-1),
        ).at_least(criterion.years_at_least, axis=-1)

    def _posterior(self, criterion: Criterion, failing: Counts, n: Integers) -> Answered:
        """Pool procedures and years: Beta(α + f, β + n − f) against the losses."""
        f, m = failing.sum(axis=(-2, -1), dtype=np.int64), n.sum(axis=(-2, -1))
        prior = self.prior.get(criterion.name)
        if prior is None:
            alpha, beta = beta_priors(f, m)
        else:
            alpha, beta = (np.full(len(f), v) for v in (prior.alpha, prior.beta))
        # P(π ≥ c) = 1 − I_c(α + f, β + n − f) = I_{1−c}(β + n − f, α + f)
        p = special.betainc(beta[:, None] + m - f, alpha[:, None] + f, 1.0 - float(criterion.bound))
        if criterion.direction in ("at_most", "below"):
            p = 1.0 - p
        sat = m > 0
        return Answered(
            yes=(p >= criterion.losses.threshold) & sat,
            unknown=np.broadcast_to(~sat, p.shape),
        )


def _of_procedures(criterion: Criterion, answers: Answered, sat: Flags) -> Answered:
    """Reduce procedures: enough of them, or every one that was sat."""
    if criterion.procedures_at_least != "all":
        return answers.at_least(criterion.procedures_at_least, axis=-1)
    every = Answered(yes=answers.yes | ~sat, unknown=answers.unknown & sat).at_least(
        sat.shape[-1], axis=-1
    )
    some = sat.any(axis=-1)
    return Answered(yes=every.yes & some, unknown=every.unknown & some)


def _bounds(criterion: Criterion, n: Integers) -> tuple[Integers, Integers]:
    """Return the lowest and highest number of failing that satisfies the criterion."""
    ends = criterion.exact_ends
    scaled = [(n * e.numerator, e.denominator) for e in ends]
    up = [-(-top // bottom) for top, bottom in scaled]
    down = [top // bottom for top, bottom in scaled]
    zero = np.zeros_like(n)
    return {
        "at_least": (up[0], n),
        "above": (down[0] + 1, n),
        "at_most": (zero, down[0]),
        "below": (zero, up[0] - 1),
        "between": (up[0], up[-1] - 1 if criterion.open_above else down[-1]),
    }[criterion.direction]
