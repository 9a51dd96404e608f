"""Bad parameters and bad scales: culprit, rule, value and way out, in both languages."""

from __future__ import annotations

import re

import pytest

from resilience.data.minimum_scores import minimum_score
from resilience.data.scales import ScaleTable, read_scales, scale_table
from resilience.data.simulation import (
    Assessment,
    Indicator,
    MarkInflation,
    Network,
    PupilIntake,
    SchoolEffects,
    SocialPassport,
    simulate_class_counts,
    simulate_region,
)
from resilience.data.simulation.streams import Streams
from resilience.errors import DataError, ResilienceError, SpecificationError

BAD_PARAMETERS = {
    "negative seed": (lambda: simulate_region(random_state=-1), ["-1", "random_state"]),
    "seed not whole": (lambda: simulate_region(random_state=1.5), ["1.5"]),
    "seed a truth value": (lambda: simulate_region(random_state=True), ["True"]),
    "no pupils in a class": (lambda: simulate_class_counts(largest=0), ["largest is 0", "25"]),
    "class size not whole": (lambda: simulate_class_counts(largest=25.0), ["25.0"]),
    "class size a truth value": (lambda: simulate_class_counts(largest=True), ["True"]),
    "wrong group": (
        lambda: simulate_region(network=SchoolEffects()),
        ["network", "SchoolEffects", "Network()"],
    ),
    "per cent instead of a share": (
        lambda: PupilIntake(ses_icc=30),
        ["PupilIntake.ses_icc", "30", "0.9"],
    ),
    "text for a number": (lambda: PupilIntake(composition="0.4"), ["composition", "'0.4'"]),
    "missing number": (lambda: SchoolEffects(persistent_sd=float("nan")), ["persistent_sd", "nan"]),
    "infinite number": (lambda: SchoolEffects(transient_sd=float("inf")), ["transient_sd", "inf"]),
    "negative SD": (lambda: SchoolEffects(persistent_sd=-0.2), ["persistent_sd", "-0.2"]),
    "years not whole": (lambda: Network(n_years=4.0), ["Network.n_years", "4.0"]),
    "no years": (lambda: Network(n_years=0), ["Network.n_years", "0"]),
    "more rural schools than schools": (
        lambda: Network(n_schools=100),
        ["Network.n_rural", "123", "Network.n_schools", "100"],
    ),
    "more municipalities than schools": (
        lambda: Network(n_schools=5, n_rural=2, n_municipalities=6),
        ["n_municipalities", "6", "5"],
    ),
    "cohort bounds reversed": (
        lambda: Network(smallest_cohort=50, largest_cohort=40),
        ["smallest_cohort", "50", "largest_cohort", "40"],
    ),
    "lyceums without towns": (
        lambda: Network(n_rural=177),
        ["Network.n_selective", "6", "0 urban"],
    ),
    "unknown grade": (lambda: Assessment(vpr_grades=(5, 9)), ["vpr_grades", "(5, 9)"]),
    "grades out of order": (lambda: Assessment(vpr_grades=(6, 5)), ["(6, 5)"]),
    "prior from grade 9": (lambda: Assessment(prior_grade=9), ["prior_grade", "9", "8"]),
    "marks 2 and 5 are everybody": (
        lambda: Assessment(oge_below_russian=0.6, oge_top_russian=0.4),
        ["oge_*_russian", "1.000"],
    ),
    "no such day": (lambda: Assessment(vpr_available="02-30"), ["vpr_available", "'02-30'"]),
    "day with year": (lambda: Assessment(oge_available="2025-07-01"), ["oge_available"]),
    "window too wide": (lambda: MarkInflation(window=9), ["MarkInflation.window", "9"]),
    "unknown passport line": (
        lambda: SocialPassport(indicators=(Indicator(name="wealth", share=0.1, loading=1),)),
        ["wealth", "low_income"],
    ),
    "passport share of one": (
        lambda: Indicator(name="low_income", share=1.0, loading=0),
        ["low_income", "1.0"],
    ),
    "passport noise negative": (lambda: SocialPassport(reporting_sd=-1), ["reporting_sd", "-1"]),
    "nothing left for pupils": (
        lambda: simulate_region(effects=SchoolEffects(persistent_sd=0.95)),
        ["SchoolEffects", "0.05"],
    ),
    "year without a scale": (
        lambda: simulate_region(assessment=Assessment(vpr_scale_year=2022)),
        ["2022", "2021"],
    ),
    "unknown stream": (
        lambda: Streams(random_state=1).generator("weather"),
        ["weather", "network"],
    ),
    "language": (lambda: simulate_region(lang="de"), ["'de'"]),
}

BAD_SCALES = {
    "year without a table": (
        lambda: scale_table("ВПР", "МА", grade=5, year=2022),
        ["ВПР-5-МА", "2022", "2021"],
    ),
    "unknown exam": (lambda: scale_table("КДР", "МА", grade=4, year=2021), ["КДР-4-МА"]),
    "region without a scale": (
        lambda: scale_table("ОГЭ", "РУ", year=2023, region="Север"),
        ["Север", "read_scales"],
    ),
    "status misspelt": (
        lambda: scale_table("ОГЭ", "РУ", year=2023, status="official"),
        ["'official'", "'documented'"],
    ),
    "no literacy points": (
        lambda: scale_table("ОГЭ", "РУ", year=2023).mark_of(30),
        ["literacy", "band_of"],
    ),
    "needless geometry points": (
        lambda: scale_table("ОГЭ", "РУ", year=2023).mark_of(30, literacy=6, geometry=2),
        ["geometry"],
    ),
    "minimum of another year": (
        lambda: minimum_score("ЕГЭ", "РУ", year=2021),
        ["2021", "certificate 2026"],
    ),
    "minimum of basic mathematics": (
        lambda: minimum_score("ЕГЭ", "МА-база", year=2026),
        ["0-100", "mark 3"],
    ),
    "gap": (
        lambda: _scale(((0, 4), (6, 9), (10, 14), (15, 20))),
        ["gap", "5", "mark 2"],
    ),
    "does not start at 0": (
        lambda: _scale(((1, 4), (5, 9), (10, 14), (15, 20))),
        ["starts at 1"],
    ),
    "falls": (lambda: _scale(((0, 4), (5, 3), (4, 14), (15, 20))), ["mark 3", "5", "3"]),
    "three marks": (lambda: _scale(((0, 4), (5, 9), (10, 20))), ["3 ranges"]),
    "status of a table": (
        lambda: _scale(((0, 4), (5, 9), (10, 14), (15, 20)), status="sure"),
        ["'sure'"],
    ),
}

BAD_SCORES = {
    "above the maximum": (21, "21"),
    "negative": (-1, "-1"),
    "not whole": (7.5, "7.5"),
    "missing": (float("nan"), "nan"),
    "text": ("7", "7"),
    "truth value": (True, "True"),
}


def _scale(marks, status="documented") -> ScaleTable:
    return ScaleTable(exam="ВПР", subject="МА", grade=4, year=2030, marks=marks, status=status)


def check_wording(error: ResilienceError, words: list[str]) -> None:
    message = str(error)
    for word in words:
        assert word in message, message
    assert ";" in message or "use one of" in message  # the way out
    russian = error.localized("ru")
    assert "{" not in message + russian


@pytest.mark.parametrize("case", [*BAD_PARAMETERS, *BAD_SCALES])
def test_bad_specification(case: str) -> None:
    act, words = (BAD_PARAMETERS | BAD_SCALES)[case]
    with pytest.raises(SpecificationError) as caught:
        act()
    check_wording(caught.value, words)
    if case != "language":  # the choice of language is refused before there is one
        assert re.search("[а-яё]", caught.value.localized("ru"))


@pytest.mark.parametrize("case", BAD_SCORES)
def test_bad_scores(case: str) -> None:
    score, shown = BAD_SCORES[case]
    with pytest.raises(DataError, match="from 0 to 20") as caught:
        scale_table("ВПР", "МА", grade=4, year=2021).mark_of([score])
    assert shown in str(caught.value)


FILES = {
    "not TOML": ("[[table]\n", "cannot be read"),
    "unknown field": (
        '[[table]]\nexam = "ОГЭ"\nsubject = "РУ"\ngrade = 9\nyear = 2020\nmark = []\n'
        'status = "unverified"\nreference = "order"\n',
        "unknown fields (mark)",
    ),
    "ranges of text": (
        '[[table]]\nexam = "ОГЭ"\nsubject = "РУ"\ngrade = 9\nyear = 2020\n'
        'marks = ["0-12", "13-22"]\nstatus = "unverified"\nreference = "order"\n',
        "four pairs",
    ),
    "twice": (
        '[[table]]\nexam = "ОГЭ"\nsubject = "РУ"\ngrade = 9\nyear = 2020\n'
        "marks = [[0, 12], [13, 22], [23, 28], [29, 33]]\n"
        'status = "unverified"\nreference = "order"\n' * 2,
        "twice",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_files_of_scales(case: str, tmp_path) -> None:
    content, words = FILES[case]
    path = tmp_path / "scales.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SpecificationError, match=re.escape(words)):
        read_scales(path)


def test_absent_file_of_scales(tmp_path) -> None:
    with pytest.raises(SpecificationError, match=r"nowhere\.toml"):
        read_scales(tmp_path / "nowhere.toml")
