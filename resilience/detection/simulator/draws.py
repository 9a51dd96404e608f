"""Drawing of true shares and of counts: a probit model with exact failing rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from resilience.detection.simulator.layout import Layout
from resilience.detection.simulator.shares import TrueShares
from resilience.stats.lists.share_moments import FailureParts

__all__ = ["BLOCK", "Draw", "Truth", "draw_block"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Truth = Literal["school", "procedure", "two_procedures"]

BLOCK = 250  # replicates held in memory at once
_SOLVED = 1e-9  # of a school's mean share
_EDGE = 1e-9  # shares are kept this far from 0 and 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """A block of simulated regions.

    Attributes
    ----------
    failing : ndarray of int, shape (n_replicates, n_schools, n_procedures, n_years)
        Counts.
    true : ndarray of bool, shape (n_replicates, n_schools)
        Whether the school truly belongs on a list of low results.
    share : ndarray, shape (n_replicates, n_schools)
        The school's true failing share.
    """

    failing: NDArray[np.int32]
    true: Flags
    share: Floats


def draw_block(
    rng: np.random.Generator,
    layout: Layout,
    shares: TrueShares,
    parts: FailureParts,
    *,
    truth: Truth,
    truth_share: float,
    n_replicates: int,
) -> Draw:
    r"""Draw regions.

    Pupil i fails when :math:`k_{sp} + b_{st} + c_{sp} + d_{spt} + g_i + \varepsilon > 0` with
    :math:`k_{sp} = \Phi^{-1}(\pi_{sp})\sqrt{V}`, V the variance of all that follows it, so that
    the failing rate is :math:`\pi_{sp}` whatever the variances.
    """
    school = shares.draw(rng, n_replicates)
    level = _levels(school, shares, layout)  # Φ⁻¹ of the rate of school and procedure
    n_schools, n_procedures, n_years = layout.n.shape
    lasting = level * np.sqrt(parts.total)
    if parts.school_procedure:
        shape = (n_replicates, n_schools, n_procedures)
        lasting = lasting + np.sqrt(parts.school_procedure) * rng.standard_normal(shape)
    true = _truth(school, lasting, parts, layout, truth, truth_share)
    failing = np.zeros((n_replicates, n_schools, n_procedures, n_years), dtype=np.int32)
    for t in range(n_years):
        latent = np.broadcast_to(lasting, failing.shape[:3])
        if parts.school_year:
            year = rng.standard_normal((n_replicates, n_schools, 1))
            latent = latent + np.sqrt(parts.school_year) * year
        if parts.cell:
            latent = latent + np.sqrt(parts.cell) * rng.standard_normal(failing.shape[:3])
        failing[..., t] = _counts(rng, latent, layout, t, parts.pupil)
    return Draw(failing=failing, true=true, share=school)


def _levels(school: Floats, shares: TrueShares, layout: Layout) -> Floats:
    """Return Φ⁻¹ of each school's rate in each procedure, (n_replicates, n_schools, n_procedures).

    Where procedures differ, a school's level is set so that its mean rate over the procedures it
    sits, weighted by participants, is its share.
    """
    if shares.by_procedure is not None:
        fixed = special.ndtri(np.clip(shares.by_procedure, _EDGE, 1 - _EDGE))
        return np.broadcast_to(fixed, (len(school), *fixed.shape))
    inside = np.clip(school, _EDGE, 1 - _EDGE)
    start = special.ndtri(inside)[..., None]
    offset = shares.offset
    if not offset.any():
        return np.broadcast_to(start, (*school.shape, len(offset)))
    now = layout.n[:, :, layout.last].astype(float)
    total = now.sum(axis=1, keepdims=True)
    weight = np.where(total > 0, now / np.maximum(total, 1.0), 1.0 / len(offset))
    level = start - (weight @ offset)[:, None]
    for _ in range(30):
        at = level + offset
        gap = (special.ndtr(at) * weight).sum(axis=-1) - inside
        if np.abs(gap).max() < _SOLVED:
            break
        slope = (np.exp(-0.5 * at * at) * weight).sum(axis=-1) / np.sqrt(2 * np.pi)
        level = level - np.clip(gap / np.maximum(slope, 1e-12), -1.0, 1.0)[..., None]
    return np.asarray(level + offset)


def _truth(
    school: Floats,
    lasting: Floats,
    parts: FailureParts,
    layout: Layout,
    truth: Truth,
    bound: float,
) -> Flags:
    if truth == "school":
        return np.asarray(school >= bound)
    # rate of a procedure given what lasts: the rest of the latent result is averaged over
    passing = parts.total - parts.school_procedure
    # the rate is compared a hair below the bound: Φ(Φ⁻¹(.3)) may come out as .2999…
    low = lasting >= special.ndtri(np.clip(bound, _EDGE, 1 - _EDGE)) * np.sqrt(passing) - _EDGE
    sat = layout.n[:, :, layout.last] > 0
    needed = 1 if truth == "procedure" else 2
    return np.asarray((low & sat).sum(axis=-1) >= needed)


def _counts(
    rng: np.random.Generator, latent: Floats, layout: Layout, t: int, pupil: float
) -> NDArray[np.int64]:
    """Return failing pupils of one year, (n_replicates, n_schools, n_procedures)."""
    n = layout.n[:, :, t]
    rate = special.ndtr(latent / np.sqrt(1.0 + pupil))
    if pupil == 0:
        return rng.binomial(n, rate)
    grade = layout.grades
    shared = [np.flatnonzero(grade == g) for g in np.unique(grade[~np.isnan(grade)])]
    shared = [columns for columns in shared if len(columns) > 1]
    together = np.concatenate(shared) if shared else np.zeros(0, dtype=np.int64)
    apart = np.setdiff1d(np.arange(len(grade)), together)
    failing = np.zeros(latent.shape, dtype=np.int64)
    failing[..., apart] = rng.binomial(n[:, apart], rate[..., apart])
    for columns in shared:
        for s in np.flatnonzero(n[:, columns].any(axis=1)):
            failing[:, s, columns] = _shared(rng, latent[:, s, columns], n[s, columns], pupil)
    return failing


def _shared(
    rng: np.random.Generator, latent: Floats, n: NDArray[np.int64], pupil: float
) -> NDArray[np.int64]:
    """Return failing pupils of procedures that the same pupils sit, (n_replicates, n_columns).

    The smaller procedure is sat by some of the pupils of the larger one.
    """
    rows = len(latent)
    own = rng.standard_normal((rows, int(n.max())), dtype=np.float32) * np.float32(np.sqrt(pupil))
    failing = np.zeros(latent.shape, dtype=np.int64)
    for k, size in enumerate(n):
        if size:
            result = rng.standard_normal((rows, int(size)), dtype=np.float32)
            result += own[:, :size]
            failing[:, k] = (result > -latent[:, k, None].astype(np.float32)).sum(axis=1)
    return failing
