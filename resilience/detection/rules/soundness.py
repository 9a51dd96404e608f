"""Whether a rule makes sense: can it hold, does every line matter, is what it reads there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from resilience.columns import column
from resilience.detection.rules.criterion import EFFECT, SHARE, Criterion
from resilience.detection.rules.rule import Rule
from resilience.errors import SpecificationError
from resilience.i18n import Bilingual, text
from resilience.validation import nearest_names, shorten

__all__ = ["check_possible", "check_rule", "problems_of"]

Columns = Mapping[str, Iterable[str]]
# Columns of the glossary whose values cannot leave a range that their kind does not tell.
RANGES = {"rank_percentile": (0.0, 100.0), "reliability": (0.0, 1.0)}
COUNTS = ("school_id", "year", "procedure", "n_participants", "n_below_minimum")
# Tables in which a column that no rule of their own fixes may stand.
FREE = ("schools", "school_years", "scores", "effects", "pupils")
VPR = "ВПР"
# Fields that say which number is compared, and how surely.
SAME_NUMBER = (
    "column",
    "scale",
    "evidence",
    "level",
    "within",
    "subjects",
    "loss_false_positive",
    "loss_false_negative",
    "min_participants",
    "floor",
)


def check_rule(
    rule: Rule,
    *,
    tables: Columns | None = None,
    years: Iterable[int] | None = None,
    procedures: Iterable[str] | None = None,
) -> None:
    """Raise with every problem of the rule; see `Criteria.validate`.

    Raises
    ------
    SpecificationError
        If there is one.
    """
    _raise(rule, problems_of(rule, tables=tables, years=years, procedures=procedures))


def _raise(rule: Rule, found: Sequence[Bilingual]) -> None:
    if found:
        listed = Bilingual("; ".join(p.en for p in found), "; ".join(p.ru for p in found))
        raise SpecificationError(text("rules.unsound", rule=rule.id, n=len(found), problems=listed))


def check_possible(rule: Rule) -> None:
    """Raise if the rule can never hold, since one of all its criteria cannot, or two exclude.

    Where one criterion is enough an impossible one does no harm; `check_rule` names it.

    Raises
    ------
    SpecificationError
        With every such criterion.
    """
    if rule.combination != "all" and len(rule.criteria) > 1:
        return
    found = [*_bounds(rule, idle=False), *_pairs(rule, repeats=False)]
    if rule.procedures:
        found += _too_few_procedures(rule, len(rule.procedures))
    _raise(rule, found)


def problems_of(
    rule: Rule,
    *,
    tables: Columns | None = None,
    years: Iterable[int] | None = None,
    procedures: Iterable[str] | None = None,
) -> tuple[Bilingual, ...]:
    """Return what is wrong with a rule, in words; empty for a sound one."""
    found = [*_bounds(rule), *_pairs(rule), *_weights(rule)]
    if tables is not None:
        found += _absent_columns(rule, {name: set(map(str, tables[name])) for name in tables})
    if years is not None:
        found += _absent_years(rule, {int(y) for y in years})
    if procedures is not None:
        found += _absent_procedures(rule, list(dict.fromkeys(map(str, procedures))))
    return tuple(found)


# ------------------------------------------------------------------ one criterion


def _bounds(rule: Rule, *, idle: bool = True) -> Iterator[Bilingual]:
    """Say which bounds are never and, with ``idle``, which are always met."""
    for c in rule:
        low, high = _range(c)
        bottom, top, closed_bottom, closed_top = _interval(c)
        never = (
            bottom > high
            or top < low
            or (bottom == high and not closed_bottom)
            or (top == low and not closed_top)
        )
        always = (bottom < low or (bottom == low and closed_bottom)) and (
            top > high or (top == high and closed_top)
        )
        if c.scale == "quantile":
            # percentiles are taken at the middle of ties: never 0 and never 1
            never = never or top <= 0 or bottom >= 1
            always = bottom <= 0 and top >= 1
        value = ", ".join(f"{v:g}" for v in c.ends)
        own = {"criterion": c.name, "direction": c.direction, "value": value, "column": c.column}
        if never:
            yield text("rules.never", low=f"{low:g}", high=f"{high:g}", **own)
        elif always and idle and column(c.column).kind != "flag":
            yield text("rules.always", low=f"{low:g}", high=f"{high:g}", **own)


def _range(criterion: Criterion) -> tuple[float, float]:
    """Return the smallest and the largest value the compared number can take."""
    if criterion.scale in ("quantile", "probability"):
        return 0.0, 1.0
    if criterion.scale == "z":
        return -inf, inf
    kind = column(criterion.column).kind
    if criterion.column in RANGES:
        return RANGES[criterion.column]
    if kind in ("share", "probability", "flag"):
        return 0.0, 1.0
    return (0.0, inf) if kind == "count" else (-inf, inf)


def _interval(c: Criterion) -> tuple[float, float, bool, bool]:
    """Return the values that satisfy the bound: ends, and whether they belong."""
    low, high = float(c.ends[0]), float(c.ends[-1])
    return {
        "at_most": (-inf, high, True, True),
        "below": (-inf, high, True, False),
        "at_least": (low, inf, True, True),
        "above": (low, inf, False, True),
        "between": (low, high, True, not c.open_above),
    }[c.direction]


# ------------------------------------------------------------------ two criteria


def _pairs(rule: Rule, *, repeats: bool = True) -> Iterator[Bilingual]:
    """Say which two criteria exclude and, with ``repeats``, which repeat each other."""
    for one, two in itertools.combinations(rule.criteria, 2):
        if not _same_number(one, two):
            continue
        names = {"one": one.name, "two": two.name, "column": one.column}
        if rule.combination == "all" and _exclude(one, two, rule):
            yield text("rules.exclude", **names)
        if not repeats:
            continue
        forward, back = _implies(one, two), _implies(two, one)
        if forward and back:
            yield text("rules.repeat", **names)
        elif (forward or back) and rule.combination in ("all", "any"):
            # of "all" the weaker line never matters, of "any" the stronger one
            idle = two if forward == (rule.combination == "all") else one
            yield text("rules.idle", idle=idle.name, **names)


def _same_number(one: Criterion, two: Criterion) -> bool:
    """Whether both compare the same number, so that their bounds can be held together."""
    if any(getattr(one, name) != getattr(two, name) for name in SAME_NUMBER):
        return False
    return (one.years or "latest") == (two.years or "latest")


def _exclude(one: Criterion, two: Criterion, rule: Rule) -> bool:
    """Whether the two can never hold together."""
    if not _disjoint(one, two):
        return False
    if one.evidence != "point":
        # two posterior or interval statements with a threshold below ½ may both be made
        return one.evidence == "interval" or one.losses.threshold > 0.5
    if one.column == SHARE and not _overlap(one, two, rule):
        return False
    # years that satisfy the one cannot satisfy the other, and both lie in the longer window
    return one.years_at_least + two.years_at_least > max(one.years_of, two.years_of)


def _overlap(one: Criterion, two: Criterion, rule: Rule) -> bool:
    """Whether some procedure must satisfy both share criteria."""
    if one.order != two.order and max(one.years_of, two.years_of) > 1:
        return False
    counts = [c.procedures_at_least for c in (one, two)]
    if "all" in counts:
        return True
    # how many procedures there are is for the data to say where the rule does not
    return bool(rule.procedures) and sum(int(k) for k in counts) > len(rule.procedures)


def _disjoint(one: Criterion, two: Criterion) -> bool:
    (low1, high1, in_low1, in_high1), (low2, high2, in_low2, in_high2) = map(_interval, (one, two))
    if high1 < low2 or high2 < low1:
        return True
    return (high1 == low2 and not (in_high1 and in_low2)) or (
        high2 == low1 and not (in_high2 and in_low1)
    )


def _implies(one: Criterion, two: Criterion) -> bool:
    """Whether the first cannot hold without the second."""
    (low1, high1, in_low1, in_high1), (low2, high2, in_low2, in_high2) = map(_interval, (one, two))
    inside = (low1 > low2 or (low1 == low2 and (in_low2 or not in_low1))) and (
        high1 < high2 or (high1 == high2 and (in_high2 or not in_high1))
    )
    if not inside:
        return False
    if one.column == SHARE and not (_as_many(one, two) and _order_allows(one, two)):
        return False
    # k of the last n years leave at least k − (n − m) in the last m < n of them
    outside = max(0, one.years_of - two.years_of)
    return one.years_at_least - outside >= two.years_at_least


def _order_allows(one: Criterion, two: Criterion) -> bool:
    """Whether the order in which procedures and years are reduced keeps the implication."""
    if one.order == two.order or max(one.years_of, two.years_of) == 1:
        return True
    if one.order == "years":  # procedures that last need not meet in one year
        return two.procedures_at_least == 1 or one.years_at_least == one.years_of
    return two.years_at_least == 1


def _as_many(one: Criterion, two: Criterion) -> bool:
    """Whether enough procedures for the first are enough for the second."""
    if two.procedures_at_least in (1, one.procedures_at_least):
        return True
    if "all" in (one.procedures_at_least, two.procedures_at_least):
        return False
    return int(one.procedures_at_least) >= int(two.procedures_at_least)


def _weights(rule: Rule) -> Iterator[Bilingual]:
    """Say that weights count only where so much weight is asked for."""
    if isinstance(rule.combination, str) and any(c.weight != 1 for c in rule):
        yield text("rules.idle_weights", combination=rule.combination)


# ------------------------------------------------------------------ the data


def _absent_columns(rule: Rule, tables: Mapping[str, set[str]]) -> Iterator[Bilingual]:
    """Say which column no table holds."""
    for table, name in sorted(_read(rule)):
        if table and name not in tables.get(table, ()):
            key = "no_table" if table not in tables else "no_column"
            near = nearest_names(name, sorted(tables.get(table, ())) or ["—"])
            yield text(f"rules.{key}", table=table, column=name, nearest=near)
        elif not table and not any(name in tables.get(t, ()) for t in FREE):
            yield text("rules.no_column_anywhere", column=name, tables=", ".join(sorted(tables)))
    for c in rule:
        if c.years_of > 1 and c.column != SHARE and c.evidence == "point":
            homes = [t for t in FREE if c.column in tables.get(t, ())]
            if homes and not any("year" in tables[t] for t in homes):
                yield text("rules.no_yearly", criterion=c.name, column=c.column, n=c.years_of)


def _read(rule: Rule) -> set[tuple[str, str]]:
    """Return (table, column) of all that a rule reads; the table is empty where any may do."""
    if rule.unit == "pupil":
        found = {("pupils", c.column) for c in rule}
    else:
        found = {("", c.column) for c in rule if c.column != SHARE}
        found = {(_home(name), name) for _, name in found}
    if rule.reads_counts and rule.unit == "school":
        found |= {("counts", name) for name in COUNTS}
    found |= {("schools", name) for c in rule for name in c.within}
    if any(c.evidence == "posterior" and c.column == EFFECT for c in rule):
        found |= {("effects", name) for name in ("conditional_sd", "reliability", "n_pupils")}
    if rule.exclude_selective:
        found.add(("schools", "is_selective"))
    if rule.exclude_flagged or rule.exclude_flagged_vpr:
        found.add(("schools", "integrity_flag"))
    for name in rule.needs:
        table, _, own = name.partition(".")
        found.add((table, own))
    return found


def _home(name: str) -> str:
    if name == EFFECT:
        return "effects"
    return "scores" if name.startswith("context_") else ""


def _absent_years(rule: Rule, years: set[int]) -> Iterator[Bilingual]:
    """Say which years the rule asks for and the data lack."""
    known = shorten(sorted(years), 12) or "—"
    last = rule.year if rule.year is not None else max(years, default=None)
    if last is None or (rule.year is not None and rule.year not in years):
        yield text("rules.no_year", year=rule.year if rule.year is not None else "—", years=known)
        return
    for c in rule:
        lacking = [y for y in range(last - c.years_of + 1, last + 1) if y not in years]
        if lacking:
            yield text(
                "rules.too_few_years",
                criterion=c.name,
                n=c.years_of,
                lacking=shorten(lacking, 12),
                years=known,
            )


def _too_few_procedures(rule: Rule, n: int) -> Iterator[Bilingual]:
    """Say which criteria ask for more procedures than the n there are."""
    for c in rule:
        k = c.procedures_at_least
        if c.column == SHARE and k != "all" and int(k) > n:
            yield text("rules.too_few_procedures", criterion=c.name, k=k, n=n)


def _absent_procedures(rule: Rule, procedures: list[str]) -> Iterator[Bilingual]:
    """Say which procedures the rule asks for and the data lack."""
    if not rule.reads_counts:
        return
    for name in rule.procedures:
        if name not in procedures:
            yield text(
                "rules.no_procedure", procedure=name, nearest=nearest_names(name, procedures)
            )
    yield from _too_few_procedures(rule, len(rule.procedures) or len(procedures))
    chosen = rule.procedures or tuple(procedures)
    if rule.exclude_flagged_vpr and not any(p.startswith(VPR) for p in chosen):
        yield text("rules.no_vpr", procedures=shorten(chosen, 12))
