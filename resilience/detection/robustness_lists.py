"""Lists of many specifications as one array, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, has_text, text
from resilience.validation import (
    check_columns,
    check_finite,
    check_not_empty,
    check_unique,
    nearest_names,
)

__all__ = ["CHOICE", "ListArray", "choice_words", "read_lists"]

Floats = NDArray[np.float64]
Answers = NDArray[np.int8]
Weights = Mapping[str, Mapping[object, float]]

CHOICE = "choice_"  # columns of choices, so that a choice may bear any name
CODES = {"yes": 1, "no": 0, "not_applicable": 2, "insufficient_data": -1}


@dataclass(frozen=True, kw_only=True, eq=False)
class ListArray:
    """Verdicts of every specification on every school.

    Attributes
    ----------
    school_ids : ndarray of shape (n_schools,), str
        Schools of any list, sorted.
    specifications : DataFrame of n_specifications rows
        ``specification``, one column per choice (its level as text) and ``error`` (empty where the
        specification gave a list).
    factors : tuple of str
        Columns of the choices with at least two levels, in the order declared.
    levels : dict of {factor: tuple of str}
        Levels in the order declared.
    answers : ndarray of shape (n_specifications, n_schools), int8
        1 yes, 0 no, 2 not applicable, −1 insufficient data or no list.
    """

    school_ids: NDArray[np.object_]
    specifications: pd.DataFrame
    factors: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    answers: Answers

    @property
    def worked(self) -> NDArray[np.bool_]:
        """Which specifications gave a list."""
        return np.asarray(self.specifications["error"].astype(str) == "", dtype=bool)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Level of every choice, shape (n_specifications, n_factors)."""
        found = np.empty((len(self.specifications), len(self.factors)), dtype=np.int64)
        for k, name in enumerate(self.factors):
            place = {level: i for i, level in enumerate(self.levels[name])}
            found[:, k] = [place[str(v)] for v in self.specifications[name]]
        return found

    @property
    def membership(self) -> Floats:
        """1 listed, 0 not listed (or not applicable), NaN unknown."""
        return np.where(self.answers < 0, np.nan, (self.answers == 1).astype(float))

    def level_weights(self, weights: Weights | None) -> list[Floats]:
        """Return the weights of the levels of each factor, 1 where none is named.

        Raises
        ------
        SpecificationError
            If a factor or a level is unknown, or a weight is negative.
        """
        found = [np.ones(len(self.levels[name])) for name in self.factors]
        for name, own in (weights or {}).items():
            if name not in self.factors:
                raise _unknown_weight(name, "factors", self.factors)
            levels = self.levels[name]
            for level, weight in own.items():
                if str(level) not in levels:
                    raise _unknown_weight(level, "levels", levels)
                found[self.factors.index(name)][levels.index(str(level))] = weight
        for pi in found:
            if not (np.isfinite(pi).all() and (pi >= 0).all() and pi.sum() > 0):
                sizes = tuple(len(self.levels[name]) for name in self.factors)
                raise SpecificationError(text("multiverse.level_weights", levels=sizes))
        return found


def choice_words(name: str) -> Bilingual:
    """Return a choice or a level under its own name in English, in words in Russian."""
    key = f"multiverse_choices.{name}"
    return Bilingual(name, text(key).ru if has_text(key) else name)


def _unknown_weight(name: object, what: str, known: tuple[str, ...]) -> SpecificationError:
    return SpecificationError(
        text(
            "multiverse.weight_name",
            name=repr(name),
            what=text(f"multiverse.what_{what}"),
            nearest=nearest_names(str(name), known),
        )
    )


def read_lists(verdicts: pd.DataFrame, factors: pd.DataFrame | None) -> ListArray:
    """Read a long table of verdicts and the table that describes its specifications.

    Raises
    ------
    DataError
        If a column is absent, a verdict is none of the four, a key repeats, or a specification is
        not described.
    """
    check_not_empty(verdicts, table="verdicts")
    check_columns(verdicts, ["school_id", "specification", "verdict"], table="verdicts")
    check_finite(verdicts, ["school_id", "specification"], table="verdicts")
    check_unique(verdicts, ["school_id", "specification"], table="verdicts")
    named = verdicts["specification"].astype(str).to_numpy(dtype=object)
    if factors is None:
        # without a description a list is told by its name alone, which is no choice to divide by
        described = pd.DataFrame({"specification": pd.unique(pd.Series(named))})
    else:
        check_not_empty(factors, table="factors")
        check_columns(factors, ["specification"], table="factors")
        check_unique(factors, ["specification"], table="factors")
        described = factors.reset_index(drop=True)
    ids = described["specification"].astype(str).to_numpy(dtype=object)
    strange = pd.Series(named)[~pd.Series(named).isin(ids)]
    if len(strange):
        value = str(strange.iloc[0])
        raise DataError(
            text(
                "multiverse.unknown_specification",
                table="verdicts",
                value=repr(value),
                nearest=nearest_names(value, ids),
            )
        )
    school_ids, at = np.unique(
        verdicts["school_id"].astype(str).to_numpy(dtype=object), return_inverse=True
    )
    row = pd.Index(ids).get_indexer(pd.Index(named))
    answers = np.full((len(ids), len(school_ids)), -1, dtype=np.int8)
    answers[row, at.reshape(-1)] = _codes(verdicts["verdict"])
    names = [str(c) for c in described.columns if c not in ("specification", "error")]
    given = (
        described["error"].fillna("").astype(str)
        if "error" in described.columns
        else pd.Series([""] * len(ids))
    )
    table = pd.DataFrame({"specification": ids, **{c: _labels(described[c]) for c in names}})
    levels = {c: tuple(dict.fromkeys(table[c])) for c in names}
    table["error"] = given.to_numpy(dtype=object)
    return ListArray(
        school_ids=school_ids,
        specifications=table,
        factors=tuple(c for c in names if len(levels[c]) > 1),
        levels=levels,
        answers=answers,
    )


def _labels(values: pd.Series) -> NDArray[np.object_]:
    return values.astype(str).to_numpy(dtype=object)


def _codes(verdicts: pd.Series) -> Answers:
    shown = verdicts.astype("str").to_numpy(dtype=object)
    codes = pd.Series(shown, dtype=object).map(CODES)
    if codes.isna().any():
        first = shown[codes.isna().to_numpy()][0]
        raise DataError(
            text("multiverse.verdict_value", value=repr(first), n=int(codes.isna().sum()))
        )
    return np.asarray(codes.to_numpy(), dtype=np.int8)
