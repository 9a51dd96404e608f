"""One line of a rule: a column, a bound, and what counts as evidence."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any, Literal, get_args

from resilience.columns import column, column_names
from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.references import reference_keys
from resilience.stats.verdicts.decisions import LossRule
from resilience.validation import check_choice, nearest_names

__all__ = [
    "BOUNDS",
    "EFFECT",
    "INDEX",
    "SHARE",
    "Criterion",
    "Status",
    "check_reference",
    "fail",
    "is_flag",
]

Scale = Literal["value", "quantile", "z", "probability"]
Evidence = Literal["point", "interval", "posterior"]
Status = Literal["documented", "unverified", "proposal"]
Years = Literal["latest", "mean", "persistent", "next_year"]
Subjects = Literal["mean", "any", "all"]
BOUNDS = ("at_most", "at_least", "above", "below", "between")
SHARE, INDEX, EFFECT = "share_below_minimum", "context_index", "effect"
LEVEL = 0.95


def fail(key: str, /, **values: object) -> SpecificationError:
    """Return the room's error with a wording of the catalogue."""
    return SpecificationError(text(f"detection.{key}", **values))


def check_reference(owner: str, reference: str) -> None:
    """Raise unless the reference is empty, a key of the bibliography, or a citation in words."""
    known = reference_keys()
    if reference and " " not in reference and reference not in known:
        near = nearest_names(reference, known)
        raise fail("reference", criterion=owner, key=repr(reference), nearest=near)


def is_flag(name: str) -> bool:
    """Whether a column holds yes or no."""
    return name in column_names() and column(name).kind == "flag"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _percent(value: float) -> dict[str, object]:
    """Return the value read as a per cent beside its fraction; for other values an example."""
    percent = value if 1 < value <= 100 else 30
    return {"value": value, "percent": f"{percent:g}", "fraction": f"{percent / 100:.2f}"}


def check_count(owner: str, name: str, value: object) -> None:
    """Raise unless the value is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise fail("at_least_one", criterion=owner, field=name, value=repr(value))


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One line of a rule.

    Attributes
    ----------
    name : str
        Name by which the rule is amended.
    column : str
        Column of the glossary; ``share_below_minimum`` is formed from counts per procedure.
    at_most, at_least, above, below : float or None
    between : (float, float) or None
        Exactly one bound; ``at_most``, ``at_least`` and ``between`` are inclusive.
    open_above : bool
        The upper end of ``between`` does not belong to it: [.20, .30).
    scale : {"value", "quantile", "z", "probability"}
        ``quantile`` compares with the percentile over the region's schools of the year, ``z`` with
        the distance from their mean in SDs; with posterior evidence on ``effect`` both refer to
        the distribution of the effects, N(0, σ_u²).
    evidence : {"point", "interval", "posterior"}
        Compare the value; the end of its interval (``effect`` alone); or the posterior probability
        with the threshold of the losses.
    level : float or None
        Coverage of the interval, .95 by default.
    loss_false_positive, loss_false_negative : float
        Losses of a posterior criterion.
    procedures_at_least : int or "all"
        How many procedures must satisfy it (share criteria).
    years : {"latest", "mean", "persistent", "next_year"} or None
        ``mean`` compares the mean over years; ``persistent`` (u) and ``next_year`` (u + v of the
        year to come) are targets of posterior evidence on ``effect``; None is the latest year, or
        ``years_at_least`` of the last ``years_of``.
    years_at_least, years_of : int
        In how many of the last ``years_of`` years; with posterior evidence on ``effect`` the event
        "u + v_t beyond the bound in at least k of the last T years".
    order : {"procedures", "years"}
        What is reduced first: ``years`` asks for the same procedure in every year, ``procedures``
        allows another one each year.
    within : tuple of str
        Columns of the table of schools that form the strata of percentiles and distances.
    subjects : {"mean", "any", "all"} or int
        What a column given by subject must show: the mean over subjects, one subject, each of
        them, or at least so many.
    weight : float
        What the criterion counts where the rule asks for ``combination = { at_least = k }``: yes if
        the weights of the satisfied reach k, no if with those of the unknown they do not.
        Posterior criteria on effect and context are one member, with the largest of their weights.
    min_participants : int
        Fewer participants give no verdict for the procedure.
    floor : float
        Smallest bound of a posterior effect criterion, in outcome units.
    reference, status : str
        Key of the bibliography or citation, and standing.
    """

    name: str
    column: str
    at_most: float | None = None
    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    between: tuple[float, float] | None = None
    scale: Scale = "value"
    evidence: Evidence = "point"
    level: float | None = None
    loss_false_positive: float = 1.0
    loss_false_negative: float = 1.0
    procedures_at_least: int | Literal["all"] = 1
    years: Years | None = None
    years_at_least: int = 1
    years_of: int = 1
    order: Literal["procedures", "years"] = "procedures"
    within: tuple[str, ...] = ()
    subjects: Subjects | int = "mean"
    weight: float = 1.0
    open_above: bool = False
    min_participants: int = 1
    floor: float = 0.0
    reference: str = ""
    status: Status = "proposal"

    def __post_init__(self) -> None:
        given = [b for b in BOUNDS if getattr(self, b) is not None]
        if len(given) != 1:
            raise fail("bounds", criterion=self.name, given=", ".join(given) or "—")
        if self.between is not None:
            pair = self.between
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise fail("between", criterion=self.name, value=repr(pair))
            object.__setattr__(self, "between", tuple(pair))
        self._check_names()
        self._check_bound()
        self._check_evidence()
        self._check_years_and_procedures()

    def _check_names(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise fail("no_name", value=repr(self.name))
        for name in (self.column, *self.within):
            if name not in column_names():
                near = nearest_names(str(name), column_names())
                raise fail("column", criterion=self.name, column=repr(name), nearest=near)
        for field, options in (("scale", Scale), ("evidence", Evidence), ("status", Status)):
            value = getattr(self, field)
            check_choice(value, get_args(options), argument=f"{self.name}.{field}")
        check_choice(self.order, ("procedures", "years"), argument=f"{self.name}.order")
        if self.years is not None:
            check_choice(self.years, get_args(Years), argument=f"{self.name}.years")
        check_reference(self.name, self.reference)

    def _check_bound(self) -> None:
        ends = self.ends
        if not all(_is_number(v) for v in ends):
            raise fail("number", criterion=self.name, value=repr(getattr(self, self.direction)))
        if len(ends) == 2 and not ends[0] < ends[1]:
            raise fail("between", criterion=self.name, value=list(ends))
        kind = column(self.column).kind
        asks = (self.direction, float(ends[0]), self.scale)
        if kind == "flag" and asks not in (("at_least", 1.0, "value"), ("at_most", 0.0, "value")):
            raise fail("flag_bound", criterion=self.name, column=self.column)
        if self.scale == "probability" and kind not in ("share", "probability"):
            raise fail("probability_scale", criterion=self.name, column=self.column)
        for value in ends:
            if self.scale == "quantile" and not 0 <= value <= 1:
                raise fail("quantile", criterion=self.name, **_percent(value))
            share = self.scale == "probability" or kind in ("share", "probability")
            if self.scale in ("value", "probability") and share and not 0 <= value <= 1:
                raise fail("share", criterion=self.name, **_percent(value))
        if not _is_number(self.floor) or self.floor < 0:
            raise fail("number", criterion=f"{self.name}.floor", value=repr(self.floor))

    def _check_evidence(self) -> None:
        LossRule(false_positive=self.loss_false_positive, false_negative=self.loss_false_negative)
        if self.evidence == "interval":
            level = LEVEL if self.level is None else self.level
            if self.column != EFFECT or self.scale != "value" or self.direction == "between":
                raise fail("interval", criterion=self.name, column=self.column)
            if not _is_number(level) or not 0 < level < 1:
                raise fail("level", criterion=self.name, value=repr(level))
            object.__setattr__(self, "level", float(level))  # shown even where left at default
        elif self.level is not None:
            raise fail("level_without_interval", criterion=self.name, value=self.level)
        if self.evidence == "posterior" and (
            self.column not in (SHARE, INDEX, EFFECT) or self.direction == "between" or self.within
        ):
            raise fail("posterior_column", criterion=self.name, column=self.column)
        inside = self.scale != "quantile" or all(0 < v < 1 for v in self.ends)
        if self.evidence == "posterior" and self.column == EFFECT and not inside:
            raise fail("posterior_quantile", criterion=self.name, value=self.ends[0])

    def _check_years_and_procedures(self) -> None:
        for name in ("years_at_least", "years_of", "min_participants"):
            check_count(self.name, name, getattr(self, name))
        if self.procedures_at_least != "all":
            check_count(self.name, "procedures_at_least", self.procedures_at_least)
        if self.years_at_least > self.years_of:
            raise fail("years", criterion=self.name, k=self.years_at_least, n=self.years_of)
        if self.years is not None and self.years_of > 1:
            raise fail("years_twice", criterion=self.name, years=self.years)
        asks_posterior = self.years in ("persistent", "next_year")
        if asks_posterior and (self.column != EFFECT or self.evidence != "posterior"):
            raise fail("persistent", criterion=self.name, column=self.column, years=self.years)
        self._check_subjects_and_weight()
        if self.column == SHARE and self.scale not in ("value", "probability"):
            raise fail("share_scale", criterion=self.name, scale=self.scale)

    def _check_subjects_and_weight(self) -> None:
        if self.subjects not in get_args(Subjects):
            check_count(self.name, "subjects", self.subjects)
        if self.subjects != "mean" and (self.column == SHARE or self.column.startswith("context_")):
            raise fail("subjects", criterion=self.name, column=self.column)
        if not _is_number(self.weight) or not 0 < self.weight < float("inf"):
            raise fail("weight", criterion=self.name, value=repr(self.weight))
        if not isinstance(self.open_above, bool):
            raise fail("flag", rule=self.name, field="open_above", value=repr(self.open_above))
        if self.open_above and self.direction != "between":
            raise fail("open_above", criterion=self.name, direction=self.direction)

    @property
    def direction(self) -> str:
        """Name of the bound that is set."""
        return next(b for b in BOUNDS if getattr(self, b) is not None)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The bound as a tuple of one number, or of two for ``between``."""
        value = getattr(self, self.direction)
        return tuple(value) if self.direction == "between" else (value,)

    @property
    def bound(self) -> float:
        """The bound; of ``between`` the lower end."""
        return float(self.ends[0])

    @property
    def losses(self) -> LossRule:
        """Losses of a posterior criterion."""
        return LossRule(
            false_positive=self.loss_false_positive, false_negative=self.loss_false_negative
        )

    @property
    def exact_ends(self) -> tuple[Fraction, ...]:
        """The bound as it is written: 0.3 is 3/10."""
        return tuple(Fraction(str(v)) for v in self.ends)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        defaults = {f.name: f.default for f in fields(self)}
        own = {k: v for k, v in asdict(self).items() if v is not None and v != defaults[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in own.items()}
