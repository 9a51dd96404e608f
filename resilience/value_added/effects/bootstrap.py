"""Results of the bootstrap: how far estimates move when the data are drawn again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from resilience.errors import DataError
from resilience.i18n import text
from resilience.results import Results, format_table
from resilience.stats.refits.refits import Component, Refit
from resilience.validation import check_columns

__all__ = ["BootstrapKind", "BootstrapResults", "bootstrap_results", "part_of_name"]

BootstrapKind = Literal["parametric", "cluster"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BootstrapResults(Results):
    r"""Estimates, their bias and their intervals from refits to drawn data.

    The interval of a parameter holds the middle share ``level`` of its replicates (percentile
    interval); the bias is the mean of the replicates minus the estimate.  Singular replicates (a
    variance of zero, a correlation of ±1) are part of the distribution and stay in it.  With few
    schools a percentile interval of a standard deviation is a little short on its upper side (12
    schools: .87 for 90 %, where the profile has .90).

    Attributes
    ----------
    table : DataFrame
        ``group term component estimate bias std_error conf_low conf_high percentile``.
    replicates : DataFrame
        ``replicate group term component estimate``, one row per refit and parameter.
    resampling : {"parametric", "cluster"}
        Whether outcomes were drawn from the fitted model, or whole units with replacement.
    unit : str or None
        Level whose units were drawn; None where outcomes were.
    n_refits : int
        Refits asked for.
    n_refits_singular, n_refits_doubtful, n_refits_failed : int
        Refits at a boundary; refits whose search did not end well; refits without estimates.
    reasons : dict of {str: int}
        What stood in the way of those without estimates, and how often.
    level : float
        Coverage of the intervals.

    References
    ----------
    DavisonHinkley1997.
    """

    table: pd.DataFrame
    replicates: pd.DataFrame
    resampling: BootstrapKind
    unit: str | None
    n_refits: int
    n_refits_singular: int
    n_refits_doubtful: int
    n_refits_failed: int
    reasons: dict[str, int]
    level: float

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("refits.bootstrap_title").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return one row per coefficient, standard deviation and correlation."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: how many refits there were and how they ended."""
        return pd.DataFrame(
            {
                "resampling": pd.Series([text(f"refits.{self.resampling}")], dtype=object),
                "n_refits": [self.n_refits],
                "n_refits_singular": [self.n_refits_singular],
                "n_refits_doubtful": [self.n_refits_doubtful],
                "n_refits_failed": [self.n_refits_failed],
                "interval_level": [self.level],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of terms, ``fixed_effects`` for instance, with bias and intervals.

        Parameters
        ----------
        data : DataFrame
            With a column ``term``.

        Raises
        ------
        DataError
            If it has none.
        """
        check_columns(data, ["term"], table="data")
        own = self.table[self.table["component"] == "coefficient"].set_index("term")
        columns = ["bias", "std_error", "conf_low", "conf_high"]
        return data.drop(columns=columns, errors="ignore").join(own[columns], on="term")

    def summary(self, lang: str = "en") -> str:
        """Return the heading, how the refits ended, the intervals, and what failed."""
        printed = super().summary(lang)
        if not self.reasons:
            return printed
        rows = [text("refits.failed", n=n, reason=words) for words, n in self.reasons.items()]
        return "\n".join([printed, "", *(row.localized(lang) for row in rows)])

    def intervals(self, lang: str = "en") -> pd.DataFrame:
        """Return the table as text with labels."""
        return format_table(self.table, lang)


def bootstrap_results(
    refits: Sequence[Refit | str],
    *,
    terms: Sequence[str],
    components: Sequence[Component],
    estimates: np.ndarray,
    resampling: BootstrapKind,
    unit: str | None,
    level: float,
) -> BootstrapResults:
    """Sum up refits.

    Parameters
    ----------
    refits : sequence of Refit or str
        Refits, or the reason why there is none.
    terms : sequence of str
        Fixed terms.
    components : sequence of (level, name)
        Standard deviations and correlations, in the order of the refits.
    estimates : ndarray of shape (n_terms + n_components,)
        Estimates of the fit itself.
    resampling, unit, level
        As in `BootstrapResults`.

    Raises
    ------
    DataError
        If no refit gave estimates.
    """
    done = [(k, r) for k, r in enumerate(refits) if isinstance(r, Refit)]
    failed = Counter(r for r in refits if isinstance(r, str))
    if not done:
        reason, n = failed.most_common(1)[0]
        raise DataError(text("refits.all_failed", n=n, reason=reason))
    names = [("fixed", term, "coefficient") for term in terms]
    names += [(group, *part_of_name(name)) for group, name in components]
    width = len(names)
    values = np.array([np.concatenate([r.beta, r.natural]) for _, r in done]).reshape(-1, width)
    rows = []
    for (group, term, component), estimate, own in zip(names, estimates, values.T, strict=True):
        known = own[np.isfinite(own)]  # a correlation means nothing where the variance is zero
        low, high = (np.nan, np.nan) if len(known) < 2 else np.quantile(known, _tails(level))
        rows.append(
            {
                "group": group,
                "term": term,
                "component": component,
                "estimate": float(estimate),
                "bias": float(known.mean() - estimate) if len(known) else np.nan,
                "std_error": float(known.std(ddof=1)) if len(known) > 1 else np.nan,
                "conf_low": float(low),
                "conf_high": float(high),
                "percentile": float((known < estimate).mean()) if len(known) else np.nan,
            }
        )
    frame = pd.DataFrame(names, columns=["group", "term", "component"])
    long = frame.loc[np.tile(np.arange(width), len(done))].reset_index(drop=True)
    long.insert(0, "replicate", np.repeat([k for k, _ in done], width).astype(np.int64))
    return BootstrapResults(
        table=pd.DataFrame(rows),
        replicates=long.assign(estimate=values.ravel()),
        resampling=resampling,
        unit=unit,
        n_refits=len(refits),
        n_refits_singular=sum(r.singular for _, r in done),
        n_refits_doubtful=sum(not r.converged for _, r in done),
        n_refits_failed=sum(failed.values()),
        reasons=dict(failed),
        level=level,
    )


def part_of_name(name: str) -> tuple[str, str]:
    """Return term and component of a parameter's name.

    ``std_dev[prior]`` is the standard deviation of ``prior``, ``correlation[a, b]`` the correlation
    of ``a × b``; a parameter of the whole level has no term.
    """
    component, _, inside = name.partition("[")
    term = inside.removesuffix("]")
    pieces = term.split(", ") if component == "correlation" else []
    for k in range(1, len(pieces)):  # a comma inside brackets is part of a term: poly(prior, 2)
        first, second = ", ".join(pieces[:k]), ", ".join(pieces[k:])
        if all(first.count(a) == first.count(b) for a, b in ("()", "[]")):
            return f"{first} × {second}", component
    return term, component


def _tails(level: float) -> list[float]:
    return [0.5 - level / 2.0, 0.5 + level / 2.0]
