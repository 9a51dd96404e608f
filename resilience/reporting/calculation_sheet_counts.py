"""The part of a calculation sheet that redoes rules on counts of marks, procedure by procedure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from resilience.detection.rules.criteria import Criteria
from resilience.detection.rules.criterion import SHARE, Criterion
from resilience.detection.rules.wording import describe_criterion
from resilience.detection.verdicts.pooled import is_pooled
from resilience.i18n import text
from resilience.reporting.calculation_sheet_data import School, is_number
from resilience.reporting.calculation_sheet_page import Cell, Page, column_name, quoted
from resilience.reporting.calculation_sheet_posterior import Words
from resilience.stats.proportions import fit_beta_prior

__all__ = [
    "CountTable",
    "by_probability",
    "count_table",
    "write_counts",
    "write_share_criterion",
]

_OPERATORS = {"at_least": ">=", "above": ">", "at_most": "<=", "below": "<"}
_CLOSE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class CountTable:
    """Counts of one school as they stand on its page.

    Attributes
    ----------
    procedures : tuple of str
        Rows: what the school has sat.
    years : tuple of int
        Years of the region's table that a rule reads, ascending.
    n, failed : dict of (str, int) to int
        Participants and those below the minimum; no entry where nobody sat.
    region : DataFrame
        Counts of all schools.
    known : frozenset of int
        Years the region's table holds.
    """

    procedures: tuple[str, ...]
    years: tuple[int, ...]
    n: Mapping[tuple[str, int], int]
    failed: Mapping[tuple[str, int], int]
    region: pd.DataFrame
    known: frozenset[int]

    @property
    def last(self) -> int:
        """Latest year."""
        return self.years[-1]

    def place(self, kind: str, procedure: str, year: int) -> str:
        """Return the name of a cell of the page."""
        number = self.procedures.index(procedure)
        return f"{kind}_{number}_{year}"


def count_table(
    school: School, region: pd.DataFrame, rules: Sequence[Criteria]
) -> CountTable | None:
    """Return the counts that rules on shares read; None where there are none."""
    reading = [rule for rule in rules if rule.reads_counts]
    if not reading or school.cells.empty:
        return None
    last = max(rule.year or int(region["year"].max()) for rule in reading)
    pooled = any(is_pooled(c) for rule in reading for c in rule.criteria)
    span = max(c.years_of for rule in reading for c in rule.criteria if c.column == SHARE)
    first = int(region["year"].min()) if pooled else last - span + 1
    own = school.cells[school.cells["year"].between(first, last)]
    if own.empty:
        return None
    keys = list(zip(own["procedure"].astype(str), own["year"].astype(int), strict=True))
    return CountTable(
        procedures=tuple(sorted({p for p, _ in keys})),
        years=tuple(range(first, last + 1)),
        n=dict(zip(keys, (int(v) for v in own["n_participants"]), strict=True)),
        failed=dict(zip(keys, (int(v) for v in own["n_below_minimum"]), strict=True)),
        region=region,
        known=frozenset(int(y) for y in region["year"].unique()),
    )


def write_counts(page: Page, table: CountTable) -> None:
    """Write who sat and who did not pass, a row per procedure, three columns per year."""
    page.heading(text("calculation_sheet.part_counts"))
    page.note(text("calculation_sheet.counts_how"))
    heads: list[str] = [page.words(text("calculation_sheet.head_procedure"))]
    for year in table.years:
        heads += [
            page.words(text(f"calculation_sheet.head_{key}", year=year))
            for key in ("sat", "failed", "share")
        ]
    page.head(heads)
    for procedure in table.procedures:
        row, cells = len(page.rows) + 1, {1: Cell(value=procedure, look="label")}
        names: dict[int, str] = {}
        for t, year in enumerate(table.years):
            at, key = 2 + 3 * t, (procedure, year)
            n, f = table.n.get(key), table.failed.get(key)
            cells[at] = Cell(value=n, look="input", digits=0)
            cells[at + 1] = Cell(value=f, look="input", digits=0)
            sat, failed = f"${column_name(at)}${row}", f"${column_name(at + 1)}${row}"
            cells[at + 2] = Cell(
                value="" if not n or f is None else f / n,
                formula=f'IF(N({sat})>0,{failed}/{sat},"")',
                look="number",
                digits=3,
            )
            names |= {
                at: table.place("n", procedure, year),
                at + 1: table.place("f", procedure, year),
            }
        page.table_row(cells, names)


def write_share_criterion(
    page: Page,
    rule: Criteria,
    criterion: Criterion,
    school: School,
    table: CountTable,
    prefix: str,
    words: Words,
) -> str | None:
    """Write one criterion on shares; None where formulas would not give the library's answer."""
    line = school.criteria[rule.id, criterion.name]
    verdict = words.of_verdict(str(line["verdict"]))
    if criterion.evidence == "posterior":
        if is_pooled(criterion) or not _beta(page, rule, criterion, school, table, prefix):
            return None
        return by_probability(page, rule, prefix, float(line["probability"]), words)
    if (rule.year or table.last) != table.last or criterion.direction not in _OPERATORS:
        return None
    redone = _Flags(rule=rule, criterion=criterion, table=table, words=words)
    if redone.answer() != verdict:
        return None
    return redone.write(page, prefix, verdict)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Flags:
    """Which procedures satisfy a criterion in which years, and what follows."""

    rule: Criteria
    criterion: Criterion
    table: CountTable
    words: Words

    @property
    def years(self) -> list[int]:
        return list(range(self.table.last - self.criterion.years_of + 1, self.table.last + 1))

    @property
    def procedures(self) -> list[str]:
        chosen = self.rule.procedures
        return [p for p in self.table.procedures if not chosen or p in chosen]

    def flag(self, procedure: str, year: int) -> str:
        """Return the answer of one cell; what was not sat is a no, an absent year unknown."""
        if year not in self.table.known:
            return self.words.unknown
        n = self.table.n.get((procedure, year))
        if not n:
            return self.words.no
        if n < self.criterion.min_participants:
            return self.words.unknown
        bound = self.criterion.exact_ends[0]
        gap = bound.denominator * self.table.failed[procedure, year] - bound.numerator * n
        holds = {"at_least": gap >= 0, "above": gap > 0, "at_most": gap <= 0, "below": gap < 0}
        return self.words.yes if holds[self.criterion.direction] else self.words.no

    def enough(self, answers: Sequence[str], k: int) -> str:
        """Return "at least k" of answers, by three-valued logic."""
        yes, unknown = answers.count(self.words.yes), answers.count(self.words.unknown)
        if yes >= k:
            return self.words.yes
        return self.words.no if yes + unknown < k else self.words.unknown

    def needed(self) -> int:
        """Return how many procedures must satisfy it."""
        asked = self.criterion.procedures_at_least
        if asked != "all":
            return int(asked)
        if self.criterion.order == "years":
            return max(1, len(self.procedures))
        return max(1, sum(bool(self.table.n.get((p, self.table.last))) for p in self.procedures))

    def answer(self) -> str:
        """Return what the formulas give."""
        here = any(self.table.n.get((p, self.table.last)) for p in self.procedures)
        if not here:
            return self.words.unknown
        if self.criterion.order == "years" or self.criterion.years_of == 1:
            lasting = [
                self.enough([self.flag(p, y) for y in self.years], self.criterion.years_at_least)
                for p in self.procedures
            ]
            return self.enough(lasting, self.needed())
        yearly = [
            self.enough([self.flag(p, y) for p in self.procedures], self.needed())
            for y in self.years
        ]
        return self.enough(yearly, self.criterion.years_at_least)

    def write(self, page: Page, prefix: str, verdict: str) -> str:
        """Write the flags, their count and the answer."""
        bound = self.criterion.exact_ends[0]
        page.note(describe_criterion(self.criterion, page.lang))
        page.line(
            f"{prefix}num",
            text("calculation_sheet.numerator"),
            bound.numerator,
            text(
                "calculation_sheet.numerator_how",
                numerator=bound.numerator,
                denominator=bound.denominator,
                sign=_OPERATORS[self.criterion.direction].replace(">=", "≥").replace("<=", "≤"),
            ),
            digits=0,
        )
        page.line(
            f"{prefix}den", text("calculation_sheet.denominator"), bound.denominator, digits=0
        )
        least = self.criterion.min_participants
        page.line(
            f"{prefix}least",
            text("calculation_sheet.least"),
            least,
            text("calculation_sheet.least_how"),
            digits=0,
        )
        by_years = self.criterion.order == "years" or self.criterion.years_of == 1
        ranges = self._rows(page, prefix, by_years)
        return self._count(page, prefix, verdict, by_years, ranges)

    def _rows(self, page: Page, prefix: str, by_years: bool) -> list[str]:
        """Write the table of flags and return the ranges that the answer counts."""
        years, k = self.years, self.criterion.years_at_least
        both = by_years and len(years) > 1
        heads = [page.words(text("calculation_sheet.head_procedure"))]
        heads += [page.words(text("calculation_sheet.head_reached", year=y)) for y in years]
        if both:
            lasting = text("calculation_sheet.head_lasting", k=k, n=len(years))
            heads.append(page.words(lasting))
        page.head(heads)
        first = len(page.rows) + 1
        for procedure in self.procedures:
            row = len(page.rows) + 1
            cells = {1: Cell(value=procedure, look="label")}
            for t, year in enumerate(years):
                cells[2 + t] = Cell(
                    value=self.flag(procedure, year),
                    formula=self._test(procedure, year, prefix),
                    look="number",
                )
            if both:
                at = f"$B${row}:${column_name(1 + len(years))}${row}"
                flags = [self.flag(procedure, y) for y in years]
                cells[2 + len(years)] = Cell(
                    value=self.enough(flags, k), formula=self._enough([at], str(k)), look="number"
                )
            page.table_row(cells)
        last = len(page.rows)
        columns = [2 + len(years)] if both else [2 + t for t in range(len(years))]
        return [f"${column_name(c)}${first}:${column_name(c)}${last}" for c in columns]

    def _test(self, procedure: str, year: int, prefix: str) -> str:
        no, unknown, yes = (quoted(w) for w in (self.words.no, self.words.unknown, self.words.yes))
        if year not in self.table.known:
            return unknown
        n = "{" + self.table.place("n", procedure, year) + "}"
        f = "{" + self.table.place("f", procedure, year) + "}"
        sign = _OPERATORS[self.criterion.direction]
        holds = f"{{{prefix}den}}*{f}{sign}{{{prefix}num}}*{n}"
        return f"IF(N({n})=0,{no},IF({n}<{{{prefix}least}},{unknown},IF({holds},{yes},{no})))"

    def _enough(self, ranges: Sequence[str], k: str) -> str:
        """Return the formula of "at least k" by three-valued logic."""
        no, unknown, yes = (quoted(w) for w in (self.words.no, self.words.unknown, self.words.yes))
        n_yes = "+".join(f"COUNTIF({r},{yes})" for r in ranges)
        n_unknown = "+".join(f"COUNTIF({r},{unknown})" for r in ranges)
        return f"IF({n_yes}>={k},{yes},IF({n_yes}+{n_unknown}<{k},{no},{unknown}))"

    def _count(
        self, page: Page, prefix: str, verdict: str, by_years: bool, ranges: list[str]
    ) -> str:
        asked = self.needed()
        page.line(
            f"{prefix}needed",
            text("calculation_sheet.needed_procedures"),
            asked,
            text("calculation_sheet.needed_procedures_how"),
            digits=0,
        )
        if by_years:
            formula = self._enough(ranges, f"{{{prefix}needed}}")
        else:
            yearly = []
            for t, (year, own) in enumerate(zip(self.years, ranges, strict=True)):
                flags = [self.flag(p, year) for p in self.procedures]
                page.line(
                    f"{prefix}year_{t}",
                    text("calculation_sheet.year_answer", year=year),
                    self.enough(flags, asked),
                    formula=self._enough([own], f"{{{prefix}needed}}"),
                )
                yearly.append("{" + f"{prefix}year_{t}" + "}")
            formula = self._enough(yearly, str(self.criterion.years_at_least))
        sat = "+".join(
            f"N({{{self.table.place('n', p, self.table.last)}}})" for p in self.procedures
        )
        page.line(
            f"{prefix}answer",
            text("calculation_sheet.criterion_answer"),
            verdict,
            text("calculation_sheet.criterion_answer_how"),
            formula=f"IF({sat}=0,{quoted(self.words.unknown)},{formula})",
            result=True,
            library=verdict,
        )
        return f"{prefix}answer"


def _beta(
    page: Page,
    rule: Criteria,
    criterion: Criterion,
    school: School,
    table: CountTable,
    prefix: str,
) -> bool:
    """Write the posterior of the pooled share; False where it is not what the library found."""
    last = rule.year or table.last
    cells = table.region[table.region["year"].between(last - criterion.years_of + 1, last)]
    if rule.procedures:
        cells = cells[cells["procedure"].isin(list(rule.procedures))]
    numbers = ["n_below_minimum", "n_participants"]
    summed = cells.groupby("school_id", observed=True)[numbers].sum()
    if school.school_id not in summed.index or len(summed) < 2:
        return False
    prior = fit_beta_prior(summed[numbers[0]].to_numpy(), summed[numbers[1]].to_numpy())
    f, n = (int(v) for v in summed.loc[[school.school_id], numbers].to_numpy()[0])
    p = float(stats.beta.sf(criterion.bound, prior.alpha + f, prior.beta + n - f))
    p = 1 - p if criterion.direction in ("at_most", "below") else p
    known = school.criteria[rule.id, criterion.name]["probability"]
    if not is_number(known) or abs(p - known) > _CLOSE:
        return False
    procedures = [q for q in table.procedures if not rule.procedures or q in rule.procedures]
    years = [y for y in table.years if last - criterion.years_of < y <= last]
    page.note(describe_criterion(criterion, page.lang))

    def total(kind: str) -> str:
        return "+".join(f"N({{{table.place(kind, q, y)}}})" for q in procedures for y in years)

    def say(name: str, value: float, formula: str = "", digits: int = 3) -> None:
        label, how = (text(f"calculation_sheet.{name}{tail}") for tail in ("", "_how"))
        page.line(prefix + name, label, value, how, formula=formula, digits=digits)

    say("pooled_failed", f, total("f"), 0)
    say("pooled_sat", n, total("n"), 0)
    say("alpha", prior.alpha)
    say("beta", prior.beta)
    say("bound", criterion.bound)
    formula = (
        f"_xlfn.BETA.DIST({{{prefix}bound}},{{{prefix}alpha}}+{{{prefix}pooled_failed}},"
        f"{{{prefix}beta}}+{{{prefix}pooled_sat}}-{{{prefix}pooled_failed}},TRUE)"
    )
    below = criterion.direction in ("at_most", "below")
    page.line(
        f"{prefix}probability",
        text("calculation_sheet.probability_share"),
        p,
        text("calculation_sheet.probability_share_how"),
        formula=formula if below else f"1-{formula}",
        result=True,
        library=float(known),
    )
    return True


def by_probability(page: Page, rule: Criteria, prefix: str, p: float, words: Words) -> str:
    """Write losses, threshold and the answer to a probability written above."""
    losses = rule.losses
    for name, value in (
        ("loss_wrong_yes", losses.false_positive),
        ("loss_wrong_no", losses.false_negative),
    ):
        label, how = (text(f"calculation_sheet.{name}{tail}") for tail in ("", "_how"))
        page.line(prefix + name, label, value, how, digits=1)
    yes, no = f"{{{prefix}loss_wrong_yes}}", f"{{{prefix}loss_wrong_no}}"
    page.line(
        f"{prefix}threshold",
        text("calculation_sheet.threshold"),
        losses.threshold,
        text("calculation_sheet.threshold_how"),
        formula=f"{yes}/({yes}+{no})",
        result=True,
    )
    verdict = words.yes if np.greater_equal(p, losses.threshold) else words.no
    page.line(
        f"{prefix}answer",
        text("calculation_sheet.criterion_answer"),
        verdict,
        text("calculation_sheet.by_threshold_how"),
        formula=(
            f"IF({{{prefix}probability}}>={{{prefix}threshold}},"
            f"{quoted(words.yes)},{quoted(words.no)})"
        ),
        result=True,
        library=verdict,
    )
    return f"{prefix}answer"
