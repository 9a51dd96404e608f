"""Operating characteristics: how often a rule names a school of given size and true share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from resilience.detection.rules.criteria import Criteria
from resilience.detection.simulator.draws import draw_block
from resilience.detection.simulator.judge import ArrayJudge, is_pooled
from resilience.detection.simulator.layout import Layout
from resilience.detection.simulator.shares import TrueShares
from resilience.stats.lists.share_moments import FailureParts
from resilience.stats.proportions import BetaPrior, fit_beta_prior

__all__ = ["SIZES", "operating_curves", "region_priors"]

SIZES = (5, 10, 20, 40, 80)
_SHARES = np.arange(0.025, 0.6001, 0.025)


def region_priors(rule: Criteria, layout: Layout) -> dict[str, BetaPrior]:
    """Return the prior that each posterior criterion takes from the region's own counts."""
    priors = {}
    for criterion in rule.criteria:
        if criterion.evidence == "posterior":
            columns = layout.columns(rule)
            window = slice(layout.last - criterion.years_of + 1, layout.last + 1)
            f, n = (a[:, columns, window].sum(axis=(1, 2)) for a in (layout.failing, layout.n))
            priors[criterion.name] = fit_beta_prior(f, n)
    return priors


def operating_curves(
    rules: Sequence[Criteria],
    layout: Layout,
    parts: FailureParts,
    rng: np.random.Generator,
    n_replicates: int,
) -> pd.DataFrame:
    """Return ``rule_id n_participants true_share probability_flag`` on a grid.

    Every school has the region's procedures, all of one size and one true share.  Rules that need
    the ordinal model of a whole region have no such curve.
    """
    size, share = (a.ravel() for a in np.meshgrid(SIZES, _SHARES, indexing="ij"))
    grid = Layout(
        tables=layout.tables,
        school_ids=np.array([f"{k}" for k in range(len(size))], dtype=object),
        procedures=layout.procedures,
        grades=layout.grades,
        years=layout.years,
        n=np.broadcast_to(
            size[:, None, None], (len(size), len(layout.procedures), len(layout.years))
        ).copy(),
        failing=np.zeros((len(size), len(layout.procedures), len(layout.years)), dtype=np.int64),
        observed=np.zeros((2, len(size)), dtype=np.int64),
        rates=layout.rates,
    )
    fixed = TrueShares(
        alpha=None,
        beta=None,
        fixed=share,
        by_procedure=None,
        offset=np.zeros(len(layout.procedures)),
        prior=None,
    )
    chosen = [r for r in rules if not is_pooled(r)]
    judges = [ArrayJudge(r, grid, region_priors(r, layout)) for r in chosen]
    named = np.zeros((len(chosen), len(size)))
    done = 0
    while done < n_replicates:
        block = min(200, n_replicates - done)
        drawn = draw_block(
            rng, grid, fixed, parts, truth="school", truth_share=0.3, n_replicates=block
        )
        for k, judge in enumerate(judges):
            named[k] += judge.verdicts(drawn.failing, grid.last)[0].sum(axis=0)
        done += block
    p = named / n_replicates
    pieces = [
        pd.DataFrame(
            {
                "rule_id": rule.id,
                "n_participants": size,
                "true_share": np.round(share, 3),
                "probability_flag": p[k],
                "probability_flag_mc_error": np.sqrt(p[k] * (1 - p[k]) / n_replicates),
            }
        )
        for k, rule in enumerate(chosen)
    ]
    names = ["rule_id", "n_participants", "true_share", "probability_flag"]
    return (
        pd.concat(pieces, ignore_index=True)
        if pieces
        else pd.DataFrame(columns=[*names, "probability_flag_mc_error"])
    )
