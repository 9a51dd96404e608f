"""Why the official rule on counts and the pooled one answer differently for a school.

Both read the same counts; b is the bound of the pooled rule's share, k the number of procedures it
asks for, and its window the years it pools.  A cell (procedure, year) with n participants and
f below the minimum is *low* where f/n ≥ b.  The reasons are rules of thumb on these counts, taken
in the order given; they describe, and decide nothing.

The official rule says yes, the pooled one does not:

1. **few pupils**: the low cells of the window have 10 participants or fewer (their median).
2. **one bad year**: the window holds an earlier year with counts of the school, and no cell of an
   earlier year is low.
3. **one procedure**: exactly one procedure has a share over the window, Σf/Σn, of at least b, and k
   is at least 2.
4. **close to the line**: none of these.

The pooled rule says yes, the official one does not:

1. **just under the line in many**: at least k procedures have a share over the window of at least
   b − .10 and below b.
2. **earlier years**: in some earlier year of the window more procedures were low than in the
   latest.
3. **close to the line**: none of these.

Where the verdicts are the same the word is **agree**.  Where the official rule gives no answer it
is **few pupils** if a cell of the latest year lies below its smallest number of participants, and
otherwise, as where one rule does not apply, **no answer**.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE, Criterion
from resilience.detection.rules.wording import printed
from resilience.detection.verdicts.pooled import first_year, is_pooled
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text

__all__ = ["CELLS", "differences", "empty_cells", "is_companion", "is_official"]

CELLS = ("school_id", "year", "procedure", "n_participants", "n_below_minimum")
FEW = 10  # participants: below, one pupil moves a share by ten points
NEAR = Fraction(1, 10)


def empty_cells() -> pd.DataFrame:
    """Return the table of counts without rows: no rule read any."""
    return pd.DataFrame(columns=list(CELLS))


def is_official(rule: Criteria) -> bool:
    """Tell whether a rule compares shares per procedure and year."""
    return any(c.column == SHARE and c.evidence == "point" for c in rule.criteria)


def is_companion(rule: Criteria) -> bool:
    """Tell whether a rule pools counts by the model of marks, and nothing else."""
    return len(rule.criteria) == 1 and is_pooled(rule.criteria[0])


def differences(
    schools: pd.DataFrame, cells: pd.DataFrame, official: Criteria, companion: Criteria
) -> pd.DataFrame:
    """Return both verdicts of every school and why they differ; see the module.

    Parameters
    ----------
    schools : DataFrame
        ``school_id rule_id verdict probability``.
    cells : DataFrame
        ``school_id year procedure n_participants n_below_minimum``.
    official, companion : Criteria
        The rules.

    Raises
    ------
    SpecificationError
        If the first is not a rule on counts, or the second does not pool them.
    """
    if not is_official(official):
        raise SpecificationError(text("pooled.not_official", rule=official.id))
    if not is_companion(companion):
        raise SpecificationError(text("pooled.not_companion", rule=companion.id))
    own = schools[schools["rule_id"] == companion.id].set_index("school_id")
    other = schools[schools["rule_id"] == official.id].set_index("school_id")["verdict"]
    window, last = _window(cells, companion)
    by_school = dict(iter(window.groupby("school_id", observed=True)))
    guard = max(c.min_participants for c in official.criteria if c.column == SHARE)
    said_of, why_of = [], []
    rows = []
    for school, verdict, probability in zip(
        own.index, own["verdict"], own["probability"], strict=True
    ):
        counts = by_school.get(school)
        facts = None
        if counts is not None:
            facts = _Facts.of(counts, companion.criteria[0], last=last, guard=guard)
        said = str(other.loc[school])
        why = _why(said, str(verdict), facts)
        rows.append(
            {
                "school_id": school,
                "official": said,
                "companion": str(verdict),
                "probability": float(probability),
            }
        )
        why_of.append(text(f"pooled.why_{why}"))
        said_of.append(_sentence(why, facts, companion))
    table = pd.DataFrame(rows, columns=["school_id", "official", "companion", "probability"])
    # object, or pandas 3 makes plain text of wordings in two languages
    return table.assign(
        why_they_differ=pd.Series(why_of, dtype=object),
        explanation=pd.Series(said_of, dtype=object),
    )


def _window(cells: pd.DataFrame, companion: Criteria) -> tuple[pd.DataFrame, int]:
    """Return the counts that the companion pools, and the last year."""
    if companion.procedures:
        cells = cells[cells["procedure"].isin(list(companion.procedures))]
    last = companion.year
    if last is None:
        last = int(cells["year"].max()) if len(cells) else 0
    first = first_year(companion.criteria[0], last)
    return cells[(cells["year"] >= first) & (cells["year"] <= last)], last


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the rules of thumb ask of the counts of one school.

    Attributes
    ----------
    median_low : float
        Participants of the low cells, NaN without any.
    earlier : bool
        Whether the window holds an earlier year of the school.
    low_latest, low_earlier : int
        Low procedures in the latest year, and the most in an earlier one.
    lasting : int
        Procedures whose share over the window is at least the bound.
    just_under : int
        Procedures whose share over the window is within ten points below the bound.
    needed : int
        k.
    guarded : bool
        Whether a cell of the latest year has fewer participants than the official rule takes.
    """

    median_low: float
    earlier: bool
    low_latest: int
    low_earlier: int
    lasting: int
    just_under: int
    needed: int
    guarded: bool

    @classmethod
    def of(cls, counts: pd.DataFrame, criterion: Criterion, *, last: int, guard: int) -> _Facts:
        bound = criterion.exact_ends[0]
        low = _at_least(counts, bound)
        now = counts["year"].to_numpy() == last
        by_year = counts.loc[low].groupby("year", observed=True)["procedure"].nunique()
        pooled = counts.groupby("procedure", observed=True)[["n_participants", "n_below_minimum"]]
        summed = pooled.sum()
        near = _at_least(summed, bound - NEAR) & ~_at_least(summed, bound)
        sat = counts["n_participants"].to_numpy(dtype=float)
        asked = criterion.procedures_at_least
        return cls(
            median_low=float(np.median(sat[low])) if low.any() else float("nan"),
            earlier=bool((~now).any()),
            low_latest=int(by_year.get(last, 0)),
            low_earlier=int(by_year.drop(last, errors="ignore").max()) if (low & ~now).any() else 0,
            lasting=int(_at_least(summed, bound).sum()),
            just_under=int(near.sum()),
            needed=len(summed) if asked == "all" else int(asked),
            guarded=bool((sat[now] < guard).any()),
        )


def _at_least(counts: pd.DataFrame, bound: Fraction) -> NDArray[np.bool_]:
    """Compare f/n with the bound in whole numbers."""
    f = counts["n_below_minimum"].to_numpy(dtype=np.int64)
    n = counts["n_participants"].to_numpy(dtype=np.int64)
    return np.asarray(f * bound.denominator >= n * bound.numerator)


def _why(official: str, companion: str, facts: _Facts | None) -> str:
    if official == companion:
        return "agree"
    if facts is None or "not_applicable" in (official, companion):
        return "no_answer"
    if companion == "insufficient_data":
        return "no_answer"
    if official == "insufficient_data":
        return "guarded" if facts.guarded else "no_answer"
    if official == "yes":
        if facts.median_low <= FEW:
            return "few_pupils"
        if facts.earlier and facts.low_earlier == 0:
            return "one_bad_year"
        if facts.lasting == 1 and facts.needed >= 2:
            return "one_procedure"
        return "close"
    if facts.just_under >= facts.needed:
        return "just_under"
    if facts.low_earlier > facts.low_latest:
        return "earlier_years"
    return "close"


def _sentence(why: str, facts: _Facts | None, companion: Criteria) -> Bilingual:
    if facts is None:
        return text("pooled.because_no_answer")
    share = companion.criteria[0].bound
    known = facts.median_low == facts.median_low
    return text(
        f"pooled.because_{why}",
        bound=printed(100 * share, 1),
        under=printed(100 * (share - float(NEAR)), 1),
        n=printed(facts.median_low, 1) if known else "",
        few=FEW,
        near=facts.just_under,
        now=facts.low_latest,
        earlier=facts.low_earlier,
    )
