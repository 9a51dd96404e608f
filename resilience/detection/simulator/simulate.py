"""How often rules err by chance alone, on the cohort sizes of the region at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.simulator.draws import Truth
from resilience.detection.simulator.estimate import estimate_failure_parts
from resilience.detection.simulator.judge import is_pooled
from resilience.detection.simulator.layout import (
    Band,
    Layout,
    band_names,
    check_rules,
    read_layout,
)
from resilience.detection.simulator.operating import operating_curves
from resilience.detection.simulator.results import RuleSimulationResults
from resilience.detection.simulator.running import Scene, pooled_replicates, run
from resilience.detection.simulator.shares import Shares, TrueShares, true_shares
from resilience.detection.simulator.tables import Lists, differences, grouped, school_rows
from resilience.detection.verdicts.guards import yes_or_no
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, numeral, text
from resilience.stats.lists.share_moments import FailureParts
from resilience.validation import check_choice

__all__ = ["simulate_rule"]

Flags = NDArray[np.bool_]

BANDS: tuple[Band, ...] = ((1, 10), (11, 30), (31, None))
_CURVE_REPLICATES = 1000


def simulate_rule(
    rules: Criteria | Sequence[Criteria],
    counts: pd.DataFrame,
    *,
    parts: FailureParts | Literal["estimate"] = "estimate",
    truth: Truth = "school",
    truth_share: float = 0.30,
    shares: Shares = None,
    n_replicates: int = 2000,
    random_state: int = 0,
    schools: pd.DataFrame | None = None,
    bands: Sequence[Band] = BANDS,
) -> RuleSimulationResults:
    r"""Simulate regions like this one and count false names, misses and churn of each rule.

    Only the sizes of the cells are taken from ``counts`` (and, unless given, the true shares and
    the variances).  All rules judge the same draws, so that they can be compared pair by pair.
    Pupil i of school s fails when :math:`k + b_{st} + c_{sp} + d_{spt} + g_i + \varepsilon > 0`;
    the failing rate is exact whatever the variances of the parts.

    Parameters
    ----------
    rules : Criteria or sequence of Criteria
        Rules on shares below the minimum; a criterion on any other column is refused by name.
    counts : DataFrame
        ``school_id year procedure n_participants n_below_minimum``.
    parts : FailureParts or "estimate"
        Variances within schools; estimated from the counts by default.
    truth : {"school", "procedure", "two_procedures"}
        A school is truly low where its own long-run share, that of some procedure, or those of two
        reach ``truth_share``.
    truth_share : float
        In (0, 1).
    shares : float, mapping, Series or DataFrame, optional
        True failing shares: one for all, by school, or a table ``school_id [procedure]
        true_share``.  By default each replicate draws them from the Beta posterior of the school's
        pooled counts, and procedures are as hard as they are in the region.
    n_replicates : int
        Simulated regions, at least 2; the error of a probability is at most .5/√n.
    random_state : int
        Seed.
    schools : DataFrame, optional
        ``school_id [is_rural] [is_selective]``.
    bands : sequence of (int, int or None)
        Size bands by mean participants of a procedure, inclusive and ascending.

    Returns
    -------
    RuleSimulationResults
        Every school of every table has its row.

    Raises
    ------
    DataError
        If a table breaks a rule of its own, a share lies outside (0, 1), or the variances cannot
        be estimated.
    SpecificationError
        If a rule reads a column that no simulated count gives, or an argument is not well formed.

    Notes
    -----
    Rules that pool procedures by the ordinal model (``low_posterior_pooled``) refit it for every
    simulated region, this year's and next year's, and are judged in one of 200 replicates (at
    least 3) only: 10 of 2000 take about a minute.

    References
    ----------
    Griffiths1973; Pearson1900.
    """
    chosen = check_rules(rules)
    check_choice(truth, get_args(Truth), argument="truth")
    if not isinstance(truth_share, int | float) or not 0 < truth_share < 1:
        raise SpecificationError(
            text("simulator.open_share", argument="truth_share", value=truth_share)
        )
    whole = isinstance(n_replicates, int) and not isinstance(n_replicates, bool)
    if not whole or n_replicates < 2:
        raise SpecificationError(text("simulator.replicates", value=repr(n_replicates)))
    layout = read_layout(counts, chosen, schools)
    known = _parts(parts, counts)
    drawn_from = true_shares(shares, layout)
    keys, groups, names = _school_keys(layout, schools, bands)
    rng = np.random.default_rng(random_state)
    scene = Scene(
        layout=layout, shares=drawn_from, parts=known, truth=truth, truth_share=truth_share
    )
    lists, mean_share = run(rng, scene, chosen, n_replicates)
    keys["true_share"] = mean_share
    tables = {key: _by(lists, groups[key], names[key]) for key in groups}
    first = ["rule_id", "school_id", "size_band", "is_rural", "mean_participants", "true_share"]
    rows = pd.concat([school_rows(one, keys) for one in lists], ignore_index=True)
    return RuleSimulationResults(
        schools=rows[[*first, *(c for c in rows.columns if c not in first)]],
        by_size_band=tables["size_band"],
        by_rurality=tables["is_rural"],
        overall=pd.concat(
            [
                grouped(one, [np.ones(len(keys), dtype=bool)]).assign(n_replicates=len(one.listed))
                for one in lists
            ],
            ignore_index=True,
        ),
        differences=differences(lists),
        operating=operating_curves(
            chosen, layout, known, rng.spawn(1)[0], min(n_replicates, _CURVE_REPLICATES)
        ),
        rules=chosen,
        parts=known,
        truth=truth,
        truth_share=float(truth_share),
        n_replicates=n_replicates,
        notes=_notes(layout, chosen, parts, drawn_from, truth, truth_share, n_replicates),
    )


def _parts(parts: object, counts: pd.DataFrame) -> FailureParts:
    if isinstance(parts, FailureParts):
        return parts
    if isinstance(parts, str) and parts == "estimate":
        return estimate_failure_parts(counts)
    raise SpecificationError(text("simulator.parts_kind", value=repr(parts)))


def _school_keys(
    layout: Layout, schools: pd.DataFrame | None, bands: Sequence[Band]
) -> tuple[pd.DataFrame, dict[str, list[Flags]], dict[str, pd.Series]]:
    """Return a row per school, masks of groups and the groups' names."""
    size = layout.size
    band, order = band_names(size, bands)
    rural = pd.Series([None] * len(size), dtype="boolean")
    if schools is not None and "is_rural" in schools.columns:
        latest = layout.tables.latest("schools", "schools")["is_rural"]
        rural = pd.Series(yes_or_no(latest, "is_rural"), dtype="boolean")
    keys = pd.DataFrame(
        {
            "school_id": layout.school_ids,
            "size_band": band,
            "is_rural": rural,
            "mean_participants": size,
        }
    )
    flags = [rural.fillna(False).to_numpy(dtype=bool), (~rural).fillna(False).to_numpy(dtype=bool)]
    values: list[bool | None] = [True, False]
    unknown = rural.isna().to_numpy(dtype=bool)
    if unknown.any():
        flags.append(unknown)
        values.append(None)
    kept = [k for k, mask in enumerate(flags) if mask.any()]
    return (
        keys,
        {
            "size_band": [np.asarray(band == name) for name in order],
            "is_rural": [flags[k] for k in kept],
        },
        {
            "size_band": pd.Series(list(order), dtype=object, name="size_band"),
            "is_rural": pd.Series(
                pd.array([values[k] for k in kept], dtype="boolean"), name="is_rural"
            ),
        },
    )


def _by(lists: Sequence[Lists], groups: Sequence[Flags], names: pd.Series) -> pd.DataFrame:
    pieces = []
    for one in lists:
        table = grouped(one, groups)
        table.insert(1, str(names.name), names)
        pieces.append(table)
    return pd.concat(pieces, ignore_index=True)


def _notes(
    layout: Layout,
    rules: tuple[Criteria, ...],
    parts: object,
    shares: TrueShares,
    truth: str,
    truth_share: float,
    n_replicates: int,
) -> tuple[Bilingual, ...]:
    shown = f"{0.5 / n_replicates**0.5:.3f}"
    error = numeral(shown)
    notes = [
        text("simulator.note_draws", n=n_replicates, error=error),
        text(f"simulator.note_truth_{truth}", share=f"{100 * truth_share:g}"),
        text("simulator.note_shares_drawn" if shares.prior else "simulator.note_shares_given"),
        text(
            "simulator.note_parts_given"
            if isinstance(parts, FailureParts)
            else "simulator.note_parts_estimated"
        ),
        text("simulator.note_next_year", year=layout.years[layout.last]),
    ]
    pooled = [r.id for r in rules if is_pooled(r)]
    if pooled:
        n = pooled_replicates(n_replicates)
        notes.append(text("simulator.note_pooled", rules=", ".join(pooled), n=n))
    return tuple(notes)
