"""Which schools depend on the choices behind a list, and which choice moves the list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection.robustness_lists import (
    CHOICE,
    ListArray,
    Weights,
    choice_words,
    read_lists,
)
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.stats.lists.attribution import (
    MOST_FACTORS,
    MOST_SPECIFICATIONS,
    attribute,
    factor_pairs,
    jaccard,
    list_shares,
)
from resilience.validation import check_columns

__all__ = ["ListRobustness", "list_robustness", "robustness_of"]

Floats = NDArray[np.float64]

ALL_PAIRS = "all_pairs"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ListRobustness(Results):
    """Robustness of lists over specifications.

    Attributes
    ----------
    schools : DataFrame
        ``school_id robustness_share unknown_share n_specifications core``, most robust first: the
        share counts specifications that could judge the school; ``core`` from ``core_share`` on.
    choices : DataFrame
        ``factor n_levels jaccard_median main_share total_share shapley_share conf_low conf_high
        reason``: one row per choice with at least two levels; the Shapley shares add up to 1, and
        ``reason`` says why shares are missing.
    levels : DataFrame
        ``factor choice_level n_specifications n_listed_median``: sizes of lists by level.
    specifications : DataFrame
        ``specification choice_<factor> … n_listed n_unknown error``: one row per specification, a
        failed one with its error.
    jaccard : DataFrame
        ``factor n_pairs jaccard_median jaccard_low_quartile jaccard_high_quartile jaccard_lowest``:
        agreement of all pairs of lists, and of pairs that differ in one choice alone.
    notes : tuple of Bilingual
        What a reader must know.
    core_share : float
        Share from which a school belongs to the core.
    level : float
        Coverage of the intervals.
    """

    schools: pd.DataFrame
    choices: pd.DataFrame
    levels: pd.DataFrame
    specifications: pd.DataFrame
    jaccard: pd.DataFrame
    notes: tuple[Bilingual, ...] = ()
    core_share: float = 0.8
    level: float = 0.95

    @property
    def core(self) -> pd.DataFrame:
        """The schools that stand in nearly all lists, most robust first."""
        return self.schools[self.schools["core"]].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return the choices, one row each; the agreement of all lists where there are none."""
        return (self.choices if len(self.choices) else self.jaccard).copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: numbers of specifications and schools, agreement, unknown share."""
        return pd.DataFrame(
            {
                "n_specifications": [len(self.specifications)],
                "n_failed": [int((self.specifications["error"].astype(str) != "").sum())],
                "n_schools": [len(self.schools)],
                "n_ever_listed": [int((self.schools["robustness_share"] > 0).sum())],
                "n_core": [int(self.schools["core"].sum())],
                "jaccard_median": [float(self.jaccard["jaccard_median"].iloc[0])],
                "unknown_share": [float(self.schools["unknown_share"].mean())],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return sizes, the division among choices, agreement of lists and notes."""
        check_language(lang)
        tables = [self.choices, self.jaccard] if len(self.choices) else [self.jaccard]
        shown = [format_table(self.glance(), lang).T.to_string(header=False)]
        shown += [format_table(t, lang).to_string(index=False) for t in tables]
        head = self.title(lang)
        notes = [f"* {note.localized(lang)}" for note in self.notes]
        return "\n\n".join([f"{head}\n{'=' * len(head)}", *shown, "\n".join(notes)])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``robustness_share``, ``unknown_share`` and ``core``.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        columns = ["robustness_share", "unknown_share", "core"]
        table = self.schools.set_index("school_id")[columns]
        keyed = data["school_id"].astype(str)
        return data.assign(**{c: keyed.map(table[c]).to_numpy() for c in columns})


def list_robustness(
    verdicts: pd.DataFrame,
    factors: pd.DataFrame | None = None,
    *,
    weights: Weights | None = None,
    core_share: float = 0.8,
    level: float = 0.95,
    n_replicates: int = 1000,
    random_state: int = 0,
) -> ListRobustness:
    """Compare lists, our own or published ones.

    Parameters
    ----------
    verdicts : DataFrame
        ``school_id specification verdict``; a school that a specification does not mention is
        unknown there.
    factors : DataFrame, optional
        ``specification`` and one column per choice (values are levels); ``error`` where one gave no
        list.  Without it only the agreement of lists is given.
    weights : mapping of {factor: {level: weight}}, optional
        Weights of levels, 1 where none is named; the weight of a specification is their product.
        Ten near-copies of one choice buy ten votes: give them a tenth each.
    core_share : float
        Robustness share from which a school belongs to the core, in (0, 1].
    level : float
        Coverage of the intervals of Shapley shares.
    n_replicates : int
        Bootstrap samples of whole schools.
    random_state : int
        Seed of the bootstrap.

    Returns
    -------
    ListRobustness

    Raises
    ------
    DataError
        If no specification gave a list, or a table breaks a rule of its own.
    SpecificationError
        If a weight names no factor or level, or a share or level is out of range.

    References
    ----------
    SteegenEtAl2016; Jaccard1901; Owen2014.
    """
    return robustness_of(
        read_lists(verdicts, factors),
        weights=weights,
        core_share=core_share,
        level=level,
        n_replicates=n_replicates,
        random_state=random_state,
    )


def robustness_of(
    lists: ListArray,
    *,
    weights: Weights | None = None,
    core_share: float = 0.8,
    level: float = 0.95,
    n_replicates: int = 1000,
    random_state: int = 0,
) -> ListRobustness:
    """Compare lists that stand in an array; see `list_robustness`."""
    if not 0 < core_share <= 1:
        raise SpecificationError(text("multiverse.core_share", value=core_share))
    worked = lists.worked
    if not worked.any():
        errors = lists.specifications["error"]
        raise DataError(text("multiverse.no_lists", n=len(errors), error=errors.iloc[0]))
    own = lists.level_weights(weights)
    codes = lists.codes
    pi = np.ones(len(codes))
    for k, of_level in enumerate(own):
        pi = pi * of_level[codes[:, k]]
    choices, notes = _choices(lists, own, level, n_replicates, random_state)
    agreement = _agreement(lists)
    choices.insert(2, "jaccard_median", agreement["jaccard_median"].to_numpy()[1:])
    if not worked.all():
        failed = int((~worked).sum())
        notes.insert(0, text("multiverse.note_failed", n=failed, of=len(worked)))
    return ListRobustness(
        schools=_schools(lists, pi, core_share),
        choices=choices,
        levels=_levels(lists),
        specifications=_specifications(lists),
        jaccard=agreement,
        notes=(*notes, text("multiverse.note_share")),
        core_share=core_share,
        level=level,
    )


def _schools(lists: ListArray, pi: Floats, core_share: float) -> pd.DataFrame:
    worked = lists.worked
    membership = lists.membership[worked]
    share, unknown = list_shares(membership, pi[worked])
    table = pd.DataFrame(
        {
            "school_id": lists.school_ids,
            "robustness_share": share,
            "unknown_share": unknown,
            "n_specifications": (~np.isnan(membership)).sum(axis=0),
            # a share of .8 that rounding left a hair below .8 is .8
            "core": np.nan_to_num(share, nan=-1.0) >= core_share - 1e-12,
        }
    )
    return table.sort_values(
        ["robustness_share", "school_id"], ascending=[False, True], kind="stable", ignore_index=True
    )


def _specifications(lists: ListArray) -> pd.DataFrame:
    table = lists.specifications
    choices = [c for c in table.columns if c not in ("specification", "error")]
    found = table[["specification", *choices]].rename(columns={c: CHOICE + c for c in choices})
    return found.assign(
        n_listed=(lists.answers == 1).sum(axis=1),
        n_unknown=(lists.answers < 0).sum(axis=1),
        error=pd.Series(list(table["error"]), dtype=object),
    )


def _levels(lists: ListArray) -> pd.DataFrame:
    rows = []
    sizes, worked, codes = (lists.answers == 1).sum(axis=1), lists.worked, lists.codes
    for k, name in enumerate(lists.factors):
        for i, level in enumerate(lists.levels[name]):
            own = sizes[worked & (codes[:, k] == i)]
            median = float(np.median(own)) if len(own) else float("nan")
            rows.append((choice_words(name), choice_words(level), len(own), median))
    columns = ["factor", "choice_level", "n_specifications", "n_listed_median"]
    return _worded(pd.DataFrame(rows, columns=columns), rows)


def _worded(
    table: pd.DataFrame, rows: list[tuple[Bilingual, Bilingual, int, float]]
) -> pd.DataFrame:
    """Keep both wordings: a column of strings would keep the English one."""
    return table.assign(
        factor=pd.Series([r[0] for r in rows], dtype=object),
        choice_level=pd.Series([r[1] for r in rows], dtype=object),
    )


def _agreement(lists: ListArray) -> pd.DataFrame:
    """Return the Jaccard agreement of all pairs, and of pairs that differ in one choice."""
    worked = lists.worked
    table = jaccard(lists.answers[worked] == 1)
    codes = lists.codes[worked]
    pairs = [np.triu_indices(len(table), 1)]
    pairs += [factor_pairs(codes, k) for k in range(len(lists.factors))]
    names = [text(f"multiverse.{ALL_PAIRS}"), *(choice_words(f) for f in lists.factors)]
    rows = []
    for first, second in pairs:
        own = table[first, second]
        quartiles = np.quantile(own, [0.5, 0.25, 0.75, 0.0]) if len(own) else np.full(4, np.nan)
        rows.append((len(own), *quartiles))
    columns = ["jaccard_median", "jaccard_low_quartile", "jaccard_high_quartile", "jaccard_lowest"]
    found = pd.DataFrame(rows, columns=["n_pairs", *columns])
    found.insert(0, "factor", pd.Series(names, dtype=object))
    return found


def _choices(
    lists: ListArray, weights: list[Floats], level: float, n_replicates: int, random_state: int
) -> tuple[pd.DataFrame, list[Bilingual]]:
    """Divide the variance among the choices, or say why that cannot be done."""
    k = len(lists.factors)
    nothing = np.full(k, np.nan)
    columns = dict.fromkeys(
        ("main_share", "total_share", "shapley_share", "conf_low", "conf_high"), nothing
    )
    reason = _refusal(lists)
    notes: list[Bilingual] = []
    if reason is None:
        sizes = tuple(len(lists.levels[name]) for name in lists.factors)
        order = np.ravel_multi_index(tuple(lists.codes.T), sizes)
        cells = np.empty((len(order), len(lists.school_ids)))
        cells[order] = lists.membership
        found = attribute(cells.reshape(*sizes, -1), weights)
        low, high = found.intervals(
            level=level, n_replicates=n_replicates, random_state=random_state
        )
        columns = {
            "main_share": found.main_share,
            "total_share": found.total_share,
            "shapley_share": found.shapley_share,
            "conf_low": low,
            "conf_high": high,
        }
        reason = found.reason
        if found.unknown_share > 0:
            share = f"{100 * found.unknown_share:.1f}"
            russian = text("multiverse.note_unknown", share=share.replace(".", ",")).ru
            notes.append(Bilingual(text("multiverse.note_unknown", share=share).en, russian))
    if reason is not None:
        notes.append(reason)
    table = pd.DataFrame(
        {"n_levels": [len(lists.levels[name]) for name in lists.factors], **columns}
    )
    table.insert(0, "factor", pd.Series([choice_words(f) for f in lists.factors], dtype=object))
    return table.assign(reason=pd.Series([reason or ""] * k, dtype=object)), notes


def _refusal(lists: ListArray) -> Bilingual | None:
    """Return why the variance cannot be divided, None where it can."""
    k, n = len(lists.factors), len(lists.answers)
    if k == 0:
        return text("multiverse.no_factors")
    different = len(np.unique(lists.codes, axis=0))
    if different < n:
        return text("multiverse.repeated", n=n - different)
    expected = int(np.prod([len(lists.levels[name]) for name in lists.factors]))
    n_worked = int(lists.worked.sum())
    if n_worked < expected:
        return text("multiverse.incomplete", n=n_worked, expected=expected)
    if k > MOST_FACTORS or n > MOST_SPECIFICATIONS:
        return text(
            "multiverse.too_large_reason",
            k=k,
            n=n,
            most_k=MOST_FACTORS,
            most_n=MOST_SPECIFICATIONS,
        )
    return None
