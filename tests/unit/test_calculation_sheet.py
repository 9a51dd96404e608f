"""Calculation sheets: formulas give the library's numbers; a changed input, another verdict."""

from __future__ import annotations

import io
import re
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook
from sheet_formulas import Sheets

import resilience as rs
from resilience.columns import column_names
from resilience.detection import Criteria, Criterion
from resilience.i18n import text
from resilience.reporting.calculation_sheet import CalculationSheets, calculation_sheet

# quadrature of 64 nodes and twelve printed digits; the brief asks for 1e-6
CLOSE = 1e-9


@pytest.fixture(scope="module")
def run():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        return rs.annual_run(rs.load_dataset("north_region"))


@pytest.fixture(scope="module", params=["ru", "en"])
def sheets(run, request) -> CalculationSheets:
    ids = ["S161", "S046", "S009"]
    if request.param == "ru":  # every third of those that have a page by default, and all named
        ids = [*calculation_sheet(run.found).school_ids[::3], *ids]
    return calculation_sheet(
        run.found,
        effects=run.va,
        scores=run.index,
        schools=run.schools,
        school_ids=ids,
        lang=request.param,
    )


@pytest.fixture(scope="module")
def book(sheets, tmp_path_factory):
    return load_workbook(sheets.save(tmp_path_factory.mktemp("sheets") / "sheets.xlsx"))


def words(lang: str) -> dict[str, str]:
    names = ("yes", "no", "insufficient_data", "not_applicable")
    return {n: text(f"verdicts.{n}").localized(lang) for n in names}


def find(sheet, label: str, nth: int = 0) -> str:
    """Return the address of the value beside the nth line with this label."""
    rows = [c.row for c in sheet["A"] if isinstance(c.value, str) and c.value.startswith(label)]
    return f"B{rows[nth]}"


def test_every_formula_gives_the_value_beside_it(sheets, book, tmp_path):
    """The value beside a formula was computed by the library's own functions, not by formulas."""
    values = load_workbook(sheets.save(tmp_path / "again.xlsx"), data_only=True)
    spreadsheet, formulas = Sheets(book), 0
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.data_type != "f":
                    continue
                formulas += 1
                got = spreadsheet.value(sheet.title, cell.coordinate)
                shown = values[sheet.title][cell.coordinate].value
                where = (sheet.title, cell.coordinate, cell.value)
                if isinstance(got, str):
                    assert got == (shown or ""), where
                else:
                    assert got == pytest.approx(shown, rel=CLOSE, abs=CLOSE), where
    assert formulas > 150 * len(sheets.school_ids)


def test_probability_and_verdict_are_the_library_s_for_every_school(run, sheets, book):
    spreadsheet, word = Sheets(book), words(sheets.lang)
    label = {"ru": "Вероятность обоих условий", "en": "Probability of both"}[sheets.lang]
    verdict = {"ru": "ЗАКЛЮЧЕНИЕ", "en": "VERDICT"}[sheets.lang]
    table = run.found.schools.set_index(["school_id", "rule_id"])
    for school, title in zip(sheets.school_ids, sheets.titles, strict=True):
        sheet = book[title]
        if np.isfinite(table.loc[(school, "resilient_posterior"), "probability"]):
            p = spreadsheet.value(title, find(sheet, label))
            known = table.loc[(school, "resilient_posterior"), "probability"]
            assert p == pytest.approx(known, abs=1e-9), school
        for k, rule in enumerate(run.found.rules):
            got = spreadsheet.value(title, find(sheet, verdict, k))
            assert got == word[table.loc[(school, rule.id), "verdict"]], (school, rule.id)


def test_default_schools_are_the_listed_and_those_near_a_line(run):
    chosen = set(calculation_sheet(run.found).school_ids)
    table = run.found.schools
    assert set(table.loc[table["verdict"] == "yes", "school_id"]) <= chosen
    near = table[(table["probability"] >= 0.5 * table["threshold"])]
    near = near[near["verdict"] != "not_applicable"]
    assert chosen == set(table.loc[table["verdict"] == "yes", "school_id"]) | set(near["school_id"])
    assert len(chosen) < run.found.schools["school_id"].nunique()


def english(run, school: str, tmp_path, rule: str) -> Sheets:
    sheets = calculation_sheet(
        run.found,
        effects=run.va,
        scores=run.index,
        school_ids=[school],
        rules=[rule],
        lang="en",
    )
    return Sheets(load_workbook(sheets.save(tmp_path / "one.xlsx")))


def test_a_changed_input_changes_the_verdict(run, tmp_path):
    sheet = english(run, "S161", tmp_path, "resilient_posterior")
    page = sheet.book["S161"]
    verdict, p = find(page, "VERDICT"), find(page, "Probability of both")
    before = sheet.value("S161", p)
    assert sheet.value("S161", verdict) == "yes"
    observed = find(page, "Observed mean")
    old = page[observed].value
    sheet.change("S161", observed, old - 0.6)
    assert sheet.value("S161", p) < 0.05 < before
    assert sheet.value("S161", verdict) == "no"  # the context is adverse and the effect is gone
    assert sheet.value("Cover", cover_verdict(sheet)) == "no"
    sheet.change("S161", observed, old)
    sheet.change("S161", find(page, "Loss of a wrong «yes»"), 2000)
    assert sheet.value("S161", verdict) == "insufficient data"  # the threshold is out of reach
    sheet.change("S161", find(page, "Loss of a wrong «yes»"), 4)
    sheet.change("S161", find(page, "Context index c"), 60)
    assert sheet.value("S161", verdict) == "no"
    sheet.change("S161", find(page, "Context index c"), 31.7)
    for row in range(8, 12):
        sheet.change("S161", f"B{row}", 2)
    assert sheet.value("S161", verdict) == "insufficient data"  # eight pupils in four years
    sheet.change("S161", find(page, "Left aside"), "yes")
    assert sheet.value("S161", verdict) == "not applicable"


def cover_verdict(sheet: Sheets) -> str:
    cells = [c for row in sheet.book["Cover"].iter_rows() for c in row if c.data_type == "f"]
    return str(cells[0].coordinate)


def official(run, tmp_path, rule: str) -> tuple[Sheets, str]:
    table = run.found.schools.set_index("school_id")
    school = table[(table["rule_id"] == rule) & (table["verdict"] == "yes")].index[0]
    return english(run, str(school), tmp_path, rule), str(school)


def test_counts_are_compared_in_whole_numbers(run, tmp_path):
    """The federal rule: 3 of 10 reach .30, 2 of 10 do not; A or B, and what was not sat."""
    sheet, school = official(run, tmp_path, "low_results_2025_or")
    page = sheet.book[school]
    head = next(r for r in range(1, 60) if page[f"A{r}"].value == "Procedure")
    first, n = head + 1, 0
    while page[f"A{first + n}"].value and page[f"A{first + n}"].value[:3] in ("ВПР", "ОГЭ"):
        n += 1
    years = [str(c.value) for c in page[head][1:] if c.value]
    assert years[0].startswith("2024")  # the rule reads two years
    verdict = find(page, "VERDICT")

    def type_in(cells: dict[tuple[int, int], tuple[int | None, int | None]]) -> str:
        for k in range(n):
            for t in range(2):
                sat, failed = cells.get((k, t), (10, 0))
                sheet.change(school, f"{'BE'[t]}{first + k}", sat)
                sheet.change(school, f"{'CF'[t]}{first + k}", failed)
        return str(sheet.value(school, verdict))

    assert type_in({}) == "no"
    assert type_in({(0, 1): (10, 3), (1, 1): (10, 3)}) == "yes"  # A
    assert type_in({(0, 1): (10, 3), (1, 1): (10, 2)}) == "no"
    assert type_in({(2, 0): (10, 4), (2, 1): (10, 4)}) == "yes"  # B
    assert type_in({(2, 0): (10, 4), (3, 1): (10, 4)}) == "no"  # other procedures
    assert type_in({(2, 0): (None, None), (2, 1): (10, 4)}) == "no"
    everywhere = {(k, 1): (None, None) for k in range(n)}
    assert type_in(everywhere) == "insufficient data"  # nobody sat this year


def test_too_few_participants_leave_it_open(run, tmp_path):
    rule = Criteria.preset("low_results_2025_or_guarded")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        found = rs.detect_schools(None, None, rule, counts=run.counts)
    table = found.schools
    assert (table["verdict"] == "insufficient_data").any()
    ids = [
        s
        for v in ("yes", "no", "insufficient_data")
        for s in table.loc[table["verdict"] == v, "school_id"].iloc[:6]
    ]
    sheets = calculation_sheet(found, school_ids=ids, lang="en")
    sheet = Sheets(load_workbook(sheets.save(tmp_path / "guarded.xlsx")))
    known = table.set_index("school_id")["verdict"].str.replace("_", " ")
    for title, school in zip(sheets.titles, sheets.school_ids, strict=True):
        page = sheet.book[title]
        assert sheet.value(title, find(page, "VERDICT")) == known[school]
        answers = [c.value for c in page["B"] if c.data_type == "f"]
        assert len(answers) > 10  # redone, not taken over


def test_a_share_of_pooled_counts_is_redone_by_the_beta_distribution(run, tmp_path):
    rule = Criteria.preset("low_posterior")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rs.WeakDataWarning)
        found = rs.detect_schools(None, None, rule, counts=run.counts)
    sheets = calculation_sheet(found, lang="en")
    sheet = Sheets(load_workbook(sheets.save(tmp_path / "beta.xlsx")))
    known = found.schools.set_index("school_id")["probability"]
    for title, school in zip(sheets.titles, sheets.school_ids, strict=True):
        place = find(sheet.book[title], "Probability that the true share")
        assert str(sheet.book[title][place].value).startswith("=_xlfn.BETA.DIST") or "1-" in str(
            sheet.book[title][place].value
        )
        assert sheet.value(title, place) == pytest.approx(known[school], abs=1e-9)


def simulated(seed: int, *, error: float = 4.0):
    rng, n = np.random.default_rng(seed), 60
    ids = [f"Ш{k:02d}" for k in range(n)]
    c, A, variance = rng.normal(50, 10, n), rng.uniform(5, 80, n), 0.13
    d = 0.02 * (c - 50) + 0.3 * rng.normal(size=n) + rng.normal(size=n) / np.sqrt(A)
    trust = variance * A / (1 + variance * A)
    effects = pd.DataFrame(
        {
            "school_id": ids,
            "effect": trust * d,
            "conditional_sd": np.sqrt(variance * (1 - trust)),
            "reliability": trust,
            "n_pupils": 50,
            "n_years": 3,
        }
    )
    kappa = 100 / (100 + error**2)
    scores = pd.DataFrame(
        {
            "school_id": ids,
            "context_index": c + error * rng.normal(size=n),
            "context_index_std_error": error,
            "context_reliability": kappa,
        }
    )
    return effects, scores


def mirrored(
    *, scale: str, value: float, floor: float = 0.0, context: str = "at_least"
) -> Criteria:
    """A rule whose yes means an effect below its bound in a favourable context."""
    bounds = {"below": value}
    low = Criterion(
        name="low",
        column="effect",
        evidence="posterior",
        scale=scale,
        floor=floor,
        loss_false_negative=2.0,
        **bounds,
    )
    favourable = Criterion(
        name="favourable",
        column="context_index",
        evidence="posterior",
        scale="quantile",
        loss_false_negative=2.0,
        **{context: 0.5},
    )
    return Criteria(
        id="mirrored", version="1", title_en="M", title_ru="З", criteria=(low, favourable)
    )


@pytest.mark.parametrize(
    "rule",
    [
        mirrored(scale="quantile", value=0.25),
        mirrored(scale="quantile", value=0.25, floor=0.4),
        mirrored(scale="z", value=-0.5),
        mirrored(scale="value", value=-0.1, floor=0.2, context="at_most"),
        mirrored(scale="value", value=-0.1),
        Criteria.preset("resilient_posterior"),
    ],
    ids=["quantile", "floor", "z", "value and floor", "value", "preset"],
)
@pytest.mark.parametrize("error", [4.0, 0.0], ids=["index with error", "exact index"])
def test_every_shape_of_rule_is_redone(rule, error, tmp_path):
    effects, scores = simulated(3, error=error)
    found = rs.detect_schools(effects, scores, rule)
    ids = found.schools["school_id"].tolist()[::3]
    sheets = calculation_sheet(found, effects=effects, scores=scores, school_ids=ids, lang="en")
    sheet = Sheets(load_workbook(sheets.save(tmp_path / "shape.xlsx")))
    known = found.schools.set_index("school_id")
    for title, school in zip(sheets.titles, sheets.school_ids, strict=True):
        page = sheet.book[title]
        p = find(page, "Probability of both")
        assert page[p].data_type == "f"
        assert sheet.value(title, p) == pytest.approx(known["probability"][school], abs=1e-9)
        power = sheet.value(title, find(page, "Power"))
        assert power == pytest.approx(known["power_to_detect"][school], abs=1e-7)
        verdict = sheet.value(title, find(page, "VERDICT"))
        assert verdict == known["verdict"][school].replace("_", " ")


def test_what_no_formula_gives_stands_as_an_input_with_its_reason(run, tmp_path):
    """Next year's effect is another calculation: its probability is shown, not redone."""
    effects, scores = simulated(3)
    rule = Criteria.preset("resilient_posterior").amend("quantile", years="next_year")
    found = rs.detect_schools(effects, scores, rule, variances={"transient": 0.02})
    sheets = calculation_sheet(found, school_ids=["Ш05"], lang="en")
    table = sheets.table("Ш05")
    line = table[table["sheet_label"] == "Probability"].iloc[0]
    known = found.schools.set_index("school_id").loc["Ш05", "probability"]
    assert line["sheet_formula"] == ""
    assert line["sheet_value"] == pytest.approx(known)
    assert "cannot hold" in line["sheet_explanation"]


def test_a_school_without_an_effect_has_a_page_that_says_so(tmp_path):
    effects, scores = simulated(3)
    found = rs.detect_schools(effects.iloc[1:], scores, Criteria.preset("resilient_posterior"))
    sheets = calculation_sheet(found, school_ids=["Ш00"], lang="ru")
    table = sheets.table("Ш00")
    assert table["sheet_value"].iloc[-1] == "недостаточно данных"


def test_names_that_look_like_formulas_or_break_sheets(run, tmp_path):
    found, renamed = run.found, run.schools.copy()
    ids = found.schools["school_id"].unique()[:2].tolist()
    renamed["name"] = '=HYPERLINK("x";"y")'
    sheets = calculation_sheet(found, schools=renamed, school_ids=ids)
    book = load_workbook(sheets.save(tmp_path / "names.xlsx"))
    for sheet in book:
        for row in sheet.iter_rows():
            assert not [c for c in row if c.data_type == "f" and "HYPERLINK" in str(c.value)]
    assert any(
        c.value == '=HYPERLINK("x";"y")' and c.data_type == "s"
        for row in book[next(iter(sheets.sheets))].iter_rows()
        for c in row
    )


def test_titles_of_sheets_are_those_a_spreadsheet_accepts(tmp_path):
    effects, scores = simulated(3)
    strange = ["a[b]:c*d?e/f\\g", "'x'", "History", "Обложка", "Ш" * 40, "Ш" * 39 + "2", "=1+1"]
    for table in (effects, scores):
        table.loc[: len(strange) - 1, "school_id"] = strange
    found = rs.detect_schools(effects, scores, Criteria.preset("resilient_posterior"))
    sheets = calculation_sheet(found, school_ids=strange)
    book = load_workbook(sheets.save(tmp_path / "titles.xlsx"))
    assert len({t.lower() for t in book.sheetnames}) == len(strange) + 2
    for title in book.sheetnames:
        assert 0 < len(title) <= 31
        assert not re.search(r"[\[\]:*?/\\]", title)
        assert title.lower() != "history"
        assert not title.startswith("'")
    values = Sheets(book)
    for row in book[book.sheetnames[0]].iter_rows():
        for cell in row:
            if cell.data_type == "f":  # references to every odd title resolve
                assert values.value(book.sheetnames[0], cell.coordinate)


def test_the_same_bytes_on_a_second_run_and_no_macros(sheets, tmp_path):
    first, second = (sheets.save(tmp_path / f"{k}.xlsx").read_bytes() for k in range(2))
    assert first == second
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        names = archive.namelist()
        assert not [n for n in names if "vba" in n.lower() or "external" in n.lower()]
        assert b"fullCalcOnLoad" in archive.read("xl/workbook.xml")


def test_table_of_a_page(sheets):
    table = sheets.table(sheets.school_ids[0])
    assert set(table.columns) <= set(column_names())
    assert (table["sheet_formula"].str.startswith("=") | (table["sheet_formula"] == "")).all()
    assert table["sheet_explanation"].str.len().gt(0).mean() > 0.3


def test_no_unresolved_name_is_left_in_a_formula(book):
    for sheet in book:
        for row in sheet.iter_rows():
            for cell in row:
                assert not (cell.data_type == "f" and re.search(r"[{}]", str(cell.value)))


def test_bad_calls_are_refused(run, tmp_path):
    with pytest.raises(rs.SpecificationError, match="DataFrame"):
        calculation_sheet(run.found.schools)
    with pytest.raises(rs.DataError, match="S999"):
        calculation_sheet(run.found, school_ids=["S999"])
    with pytest.raises(rs.DataError, match="no_such_rule"):
        calculation_sheet(run.found, rules=["no_such_rule"])
    with pytest.raises(rs.DataError, match="name schools"):
        calculation_sheet(run.found, school_ids=[])
    with pytest.raises(rs.SpecificationError, match="'de'"):
        calculation_sheet(run.found, lang="de")
    with pytest.raises(rs.DataError, match="there is no page"):
        calculation_sheet(run.found, school_ids=["S161"]).table("S001")
    (tmp_path / "folder").mkdir()
    with pytest.raises(rs.OutputError):
        calculation_sheet(run.found, school_ids=["S161"]).save(tmp_path / "folder")
