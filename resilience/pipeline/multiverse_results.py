"""Verdicts of every specification of a multiverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.detection import Criteria
from resilience.detection.robustness import ListRobustness, robustness_of
from resilience.detection.robustness_lists import CHOICE, ListArray, Weights
from resilience.errors import DataError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results, format_table
from resilience.validation import check_columns, nearest_names

__all__ = ["MultiverseResults"]

_WORDS = np.array(["insufficient_data", "no", "yes", "not_applicable"])  # codes -1 … 2


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MultiverseResults(Results):
    """Lists of all specifications of a multiverse.

    Attributes
    ----------
    lists : ListArray
        Verdict of every specification on every school, with the choices.
    probabilities : ndarray of shape (n_specifications, n_schools), float32
        Posterior probability where the rule has one, NaN elsewhere.
    rules : tuple of Criteria
        The rules as they were applied, in the order of their levels.
    notes : tuple of Bilingual
        Warnings of fits and rules, and what was left out.
    n_fits, n_passes : int
        Models fitted anew; passes over rows of pupils for them.
    """

    lists: ListArray
    probabilities: NDArray[np.float32]
    rules: tuple[Criteria, ...]
    notes: tuple[Bilingual, ...] = ()
    n_fits: int = 0
    n_passes: int = 0

    @property
    def specifications(self) -> pd.DataFrame:
        """One row per specification: ``specification choice_<factor> … n_listed n_unknown error``.

        A specification that failed stands with its error.
        """
        table = self.lists.specifications
        names = {c: CHOICE + c for c in table.columns if c not in ("specification", "error")}
        found = table[["specification", *names]].rename(columns=names)
        return found.assign(
            n_listed=(self.lists.answers == 1).sum(axis=1),
            n_unknown=(self.lists.answers < 0).sum(axis=1),
            error=pd.Series(list(table["error"]), dtype=object),
        )

    @property
    def verdicts(self) -> pd.DataFrame:
        """Long table ``school_id specification verdict`` of the specifications that gave a list.

        `list_robustness` takes it with ``specifications`` or without.
        """
        worked = self.lists.worked
        answers = self.lists.answers[worked]
        ids = self.lists.specifications["specification"].to_numpy(dtype=object)[worked]
        n = len(self.lists.school_ids)
        return pd.DataFrame(
            {
                "school_id": np.tile(self.lists.school_ids, len(ids)),
                "specification": np.repeat(ids, n),
                "verdict": _WORDS[answers.ravel().astype(np.int64) + 1],
            }
        )

    def robustness(
        self,
        *,
        weights: Weights | None = None,
        core_share: float = 0.8,
        level: float = 0.95,
        n_replicates: int = 1000,
        random_state: int = 0,
    ) -> ListRobustness:
        """Return which schools depend on the choices, and which choice moves the list.

        See `resilience.detection.robustness.list_robustness` for the parameters.
        """
        return robustness_of(
            self.lists,
            weights=weights,
            core_share=core_share,
            level=level,
            n_replicates=n_replicates,
            random_state=random_state,
        )

    def school(self, school_id: str) -> pd.DataFrame:
        """Return the curve of one school: its verdict under every specification, best first.

        Parameters
        ----------
        school_id : str
            The school.

        Returns
        -------
        DataFrame
            ``specification choice_<factor> … verdict probability error``.

        Raises
        ------
        DataError
            If no list knows the school; the nearest ids are named.
        """
        ids = self.lists.school_ids
        at = np.flatnonzero(ids == str(school_id))
        if not len(at):
            near = nearest_names(str(school_id), ids)
            raise DataError(text("multiverse.no_school", school=repr(school_id), nearest=near))
        answers = self.lists.answers[:, at[0]]
        table = self.specifications.drop(columns=["n_listed", "n_unknown"])
        error = table.pop("error")
        table = table.assign(
            verdict=_WORDS[answers.astype(np.int64) + 1],
            probability=self.probabilities[:, at[0]].astype(float),
            error=error,
        )
        # listed first, unknown between listed and not listed
        rank = np.select([answers == 1, answers == -1], [0, 1], default=2)
        order = np.lexsort((-np.nan_to_num(table["probability"].to_numpy(), nan=-1.0), rank))
        return table.iloc[order].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return the specifications, one row each."""
        return self.specifications

    def glance(self) -> pd.DataFrame:
        """Return one row: specifications, schools, refits, sizes of lists."""
        worked = self.lists.worked
        sizes = (self.lists.answers[worked] == 1).sum(axis=1)
        return pd.DataFrame(
            {
                "n_specifications": [len(worked)],
                "n_failed": [int((~worked).sum())],
                "n_factors": [len(self.lists.factors)],
                "n_schools": [len(self.lists.school_ids)],
                "n_fits": [self.n_fits],
                "n_passes": [self.n_passes],
                "n_ever_listed": [int((self.lists.answers == 1).any(axis=0).sum())],
                "n_listed_median": [float(np.median(sizes)) if len(sizes) else float("nan")],
            }
        )

    def summary(self, lang: str = "en") -> str:
        """Return the numbers, the choices with their levels, and the notes."""
        check_language(lang)
        head = self.title(lang)
        shown = format_table(self.glance(), lang).T.to_string(header=False)
        blocks = [f"{head}\n{'=' * len(head)}", shown]
        if self.lists.worked.any():
            levels = self.robustness(n_replicates=1).levels
            blocks.append(format_table(levels, lang).to_string(index=False))
        notes = [f"* {note.localized(lang)}" for note in self.notes]
        return "\n\n".join([*blocks, "\n".join(notes)])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``robustness_share``, ``unknown_share`` and ``core``.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        return self.robustness(n_replicates=1).augment(data)
