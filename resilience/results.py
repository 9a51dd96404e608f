"""The base of every result: frozen, tabular, printable in two languages."""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from resilience.columns import column_names, label, labelled
from resilience.i18n import Bilingual, check_language, has_text, text

__all__ = ["Convergence", "Results", "axis_label", "format_table", "join_by"]


@dataclass(frozen=True, kw_only=True)
class Convergence:
    """How an optimisation ended.

    Attributes
    ----------
    converged : bool
        True if the gradient is small and no boundary condition is violated.
    n_evaluations, n_iterations : int
        Evaluations of the criterion, iterations of the optimiser (over all starts).
    gradient_norm : float
        Largest absolute projected gradient at the end, relative to the scale of the criterion.
    hessian_positive : bool or None
        Whether the Hessian in the free parameters is positive definite; None without any.
    singular : bool
        A variance is zero or a correlation ±1: normal with few groups, not an accident.
    log : tuple of (int, float)
        Number of each evaluation and the criterion there.
    message : str
        What the optimiser said.
    flat : tuple of int
        Parameters that the criterion does not depend on at the end, alone or together.
    """

    converged: bool
    n_evaluations: int
    n_iterations: int
    gradient_norm: float
    hessian_positive: bool | None
    singular: bool
    log: tuple[tuple[int, float], ...] = ()
    message: str = ""
    flat: tuple[int, ...] = ()


def format_table(frame: pd.DataFrame, lang: str = "en") -> pd.DataFrame:
    """Return the table as text with the glossary's labels and decimal places.

    Missing values print as an em dash, infinite ones as ∞; verdicts, flags and words of the
    library's own in the reader's language; Russian numbers carry a decimal comma.
    """
    from resilience.columns import column

    check_language(lang)
    known = set(column_names())
    shown = pd.DataFrame(index=frame.index)
    for name in frame.columns:
        record = column(str(name)) if str(name) in known else None
        digits = record.digits if record else 3
        kind = record.kind if record else "number"
        shown[name] = [
            printed if (printed := _word(str(name), v, lang)) else _cell(v, digits, kind, lang)
            for v in frame[name]
        ]
    return labelled(shown, lang)


def _word(name: str, value: object, lang: str) -> str | None:
    """Return a word that the library itself puts into a column, None for anything else."""
    if type(value) is not str or lang == "en" or not has_text(f"cells.cell_{name}_{value}"):
        return None
    return text(f"cells.cell_{name}_{value}").localized(lang)


def _cell(value: object, digits: int, kind: str, lang: str) -> str:
    if isinstance(value, Bilingual):
        return value.localized(lang)
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "—"
    if kind == "verdict" and isinstance(value, str):
        return text(f"verdicts.{value}").localized(lang)
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return text("verdicts.yes" if value else "verdicts.no").localized(lang)
    if kind in ("key", "year", "text") or isinstance(value, str):
        return str(value)
    try:
        number = float(value)  # type: ignore[arg-type]  # any numeric scalar; others fall through
    except (TypeError, ValueError):
        return str(value)
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if kind == "count":
        digits = 0
    printed = f"{number:.{digits}f}"
    if printed.startswith("-"):
        printed = "−" + printed[1:] if float(printed) != 0 else printed[1:]
    return printed.replace(".", ",") if lang == "ru" else printed


def join_by(data: pd.DataFrame, own: pd.DataFrame, key: str | list[str]) -> pd.DataFrame:
    """Return ``data`` with the columns of ``own`` added by a key that is unique there.

    Rows and index stay as they are; columns of the same name are replaced.
    """
    keys = [key] if isinstance(key, str) else key
    kept = [c for c in data.columns if c in keys or c not in own.columns]
    return (
        data[kept]
        .merge(own, on=keys, how="left", validate="many_to_one")
        .set_axis(data.index, axis=0)
    )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Results(ABC):
    """Base of all results: frozen, derived numbers are properties, tables are methods.

    Subclasses are decorated with ``repr=False``, so that the short repr of the base stays.
    """

    @abstractmethod
    def tidy(self) -> pd.DataFrame:
        """Return one row per term (or per criterion, per list)."""

    @abstractmethod
    def glance(self) -> pd.DataFrame:
        """Return one row that sums the result up."""

    @abstractmethod
    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the result's columns added, a row per unit of ``data``."""

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text(f"results.{type(self).__name__}").localized(lang)

    def summary(self, lang: str = "en") -> str:
        """Return the heading, the one-row summary and the terms as plain text."""
        head = format_table(self.glance(), lang).T
        head.columns = pd.Index([""])
        blocks = [self.title(lang), "=" * len(self.title(lang)), head.to_string(header=False), ""]
        blocks.append(format_table(self.tidy(), lang).to_string(index=False))
        return "\n".join(blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python objects; tables become lists of rows."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def __repr__(self) -> str:
        row = self.glance().iloc[0]
        inside = ", ".join(f"{name}={_short(value)}" for name, value in list(row.items())[:6])
        return f"{type(self).__name__}({inside})"

    def _repr_html_(self) -> str:
        title = html.escape(self.title())
        glance = format_table(self.glance()).to_html(index=False, border=0)
        tidy = format_table(self.tidy()).to_html(index=False, border=0, max_rows=30)
        return f"<h4>{title}</h4>{glance}{tidy}"


def _short(value: object) -> str:
    plain = value.item() if hasattr(value, "item") else value
    return f"{plain:.6g}" if isinstance(plain, float) else repr(plain)


def _plain(value: object) -> Any:
    if isinstance(value, Results):
        return value.to_dict()
    if isinstance(value, pd.DataFrame):
        return value.to_dict(orient="records")
    if isinstance(value, pd.Series):
        return value.to_dict()
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def axis_label(name: str, lang: str = "en") -> str:
    """Return a column's label with its unit, as figures print it on an axis."""
    return label(name, lang, unit=True)
