"""The question that a value-added result answers: since when the part of a school is counted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import check_choice, shorten

__all__ = [
    "DataKind",
    "Question",
    "QuestionKind",
    "describe_data",
    "infer_question",
    "question_cell",
    "question_basis",
    "question_of",
]

QuestionKind = Literal["since_entry", "since_grade", "last_year"]
DataKind = Literal["pupils", "means", "counts", "mixture"]

_LAST_GRADE = 11
_UNSTATED = "since_grade_unstated"


@dataclass(frozen=True)
class Question:
    """Since when a school's contribution is counted.

    Schools run from grade 1 to 11, so that a result of grade 4 taken as the prior is partly the
    school's own product: what is left to explain is the school's part since that grade, not since
    its pupils entered it.

    Attributes
    ----------
    kind : {"since_entry", "since_grade", "last_year"}
        ``since_entry``: only the context is taken into account.  ``since_grade``: a result of an
        earlier grade is.  ``last_year``: the result of the year before is.
    grade : int, optional
        Grade of the prior result, 1 to 11; only with ``since_grade``.  None: not stated, and
        printed so.

    Raises
    ------
    SpecificationError
        For another kind or grade, naming the choices.

    Examples
    --------
    >>> from resilience import Question
    >>> Question("since_grade", 5).key
    'since_grade_5'
    """

    kind: QuestionKind
    grade: int | None = None

    def __post_init__(self) -> None:
        check_choice(self.kind, get_args(QuestionKind), argument="Question.kind")
        grade = self.grade
        if grade is None:
            return
        if self.kind != "since_grade":
            raise SpecificationError(
                text("value_added.question_no_grade", kind=repr(self.kind), grade=grade)
            )
        if isinstance(grade, bool) or not isinstance(grade, int) or not 1 <= grade <= _LAST_GRADE:
            raise SpecificationError(
                text("value_added.question_grade", grade=repr(grade), last=_LAST_GRADE)
            )

    @property
    def key(self) -> str:
        """``since_entry``, ``since_grade_5``, ``since_grade_unstated`` or ``last_year``."""
        if self.kind != "since_grade":
            return self.kind
        return _UNSTATED if self.grade is None else f"since_grade_{self.grade}"

    def describe(self) -> Bilingual:
        """Return the question in words, in both languages."""
        if self.kind == "since_grade" and self.grade is not None:
            return text("value_added.question_since_grade", grade=self.grade)
        return text(f"value_added.question_{self.key}")

    def __str__(self) -> str:
        return self.key


def question_of(value: Question | str) -> Question:
    """Return a question from its key.

    Parameters
    ----------
    value : Question or str
        ``"since_entry"``, ``"since_grade_5"`` (or ``"since_grade(5)"``), ``"since_grade"`` where
        the grade is not stated, ``"last_year"``.

    Raises
    ------
    SpecificationError
        For anything else, naming the choices.
    """
    if isinstance(value, Question):
        return value
    if isinstance(value, str):
        if value in ("since_entry", "last_year"):
            return Question(value)  # type: ignore[arg-type]  # one of the two literals just tested
        if value in ("since_grade", _UNSTATED):
            return Question("since_grade")
        grade = re.fullmatch(r"since_grade(?:_(\d+)|\((\d+)\))", value)
        if grade:
            return Question("since_grade", int(grade[1] or grade[2]))
    raise SpecificationError(text("value_added.question_unknown", value=repr(value)))


def infer_question(prior: Iterable[str], used: Iterable[str]) -> Question:
    """Return ``since_grade`` where a prior result is among the columns used, else ``since_entry``.

    The grade of a prior result cannot be read off its column: it stays unstated.
    """
    return Question("since_grade" if set(prior) & set(used) else "since_entry")


def question_cell(question: Question) -> pd.Series:
    """Return one cell of a table that keeps both wordings of a question."""
    return pd.Series([question.describe()], dtype=object)


def question_basis(prior: Iterable[str], used: Iterable[str], *, stated: bool) -> Bilingual:
    """Return what the question rests on: a statement, or which columns are known as prior results.

    Parameters
    ----------
    prior : iterable of str
        ``Intake.prior``.
    used : iterable of str
        Columns of the formula.
    stated : bool
        Whether ``Intake.question`` names the question.
    """
    if stated:
        return text("value_added.question_stated")
    known = sorted(set(prior) & set(used))
    key = "question_with_prior" if known else "question_without_prior"
    return text(f"value_added.{key}", columns=shorten(known or sorted(set(prior))))


def describe_data(kind: DataKind) -> Bilingual:
    """Return the kind of data as a word, in both languages; the English one is the kind itself."""
    return text(f"value_added.data_{kind}")
