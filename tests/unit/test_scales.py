"""Mark scales: borders by hand from the sources, conditions, and what refuses to load."""

from __future__ import annotations

import numpy as np
import pytest

from resilience.data.minimum_scores import minimum_score
from resilience.data.scales import ScaleTable, read_scales, scale_records, scale_table
from resilience.errors import DataError, SpecificationError
from resilience.references import reference

# Printed with overlaps in their sources: DOMAIN 5.2 and 5.3.
MISPRINTED = {("ГВЭ", "ИН", 9, ""), ("ВПР", "ГЕ", 8, "")}


def test_oge_2023_mathematics_needs_geometry() -> None:
    scale = scale_table("ОГЭ", "МА", year=2023)
    marks = scale.mark_of([9, 9, 22, 7, 22], geometry=[1, 2, 1, 5, 2])
    assert marks.tolist() == [2, 3, 2, 2, 5]


def test_oge_2023_russian_needs_literacy() -> None:
    scale = scale_table("ОГЭ", "РУ", year=2023)
    assert scale.mark_of([30, 23, 30, 28], literacy=[5, 3, 3, 4]).tolist() == [4, 3, 4, 4]
    assert scale.mark_of(30, literacy=3, cascade=True) == 3
    assert scale.mark_of(30, literacy=5, cascade=True) == 4
    assert scale.mark_of(14, literacy=8) == 2


def test_oge_2026_russian_has_other_conditions() -> None:
    scale = scale_table("ОГЭ", "РУ", year=2026)
    assert scale.mark_of([26, 32, 33], literacy=[6, 5, 8]).tolist() == [4, 3, 4]
    assert scale.second_hand


def test_oge_2023_history_and_physics() -> None:
    history = scale_table("ОГЭ", "ИС", year=2023)
    assert history.mark_of([10, 11, 29, 30]).tolist() == [2, 3, 4, 5]
    assert minimum_score("ОГЭ", "ФИ", year=2023, kind="pass").value == 11
    assert minimum_score("ОГЭ", "ФИ", year=2026, kind="pass").value == 10


def test_vpr_2021_borders() -> None:
    mathematics = scale_table("ВПР", "МА", grade=4, year=2021)
    assert mathematics.mark_of([5, 6, 14, 15]).tolist() == [2, 3, 4, 5]
    with pytest.raises(DataError, match="21"):
        mathematics.mark_of(21)
    assert scale_table("ВПР", "ФИ", grade=8, year=2021).mark_of(11) == 5
    assert scale_table("ВПР", "РУ", grade=4, year=2021).mark_of(24) == 4
    assert scale_table("ВПР", "РУ", grade=4, year=2026).mark_of(24) == 5


@pytest.mark.parametrize(
    ("subject", "grade", "ends"),
    [
        ("МА", 4, (5, 9, 14, 20)),
        ("МА", 5, (6, 10, 14, 20)),
        ("МА", 6, (5, 9, 13, 16)),
        ("МА", 7, (6, 11, 15, 19)),
        ("МА", 8, (7, 14, 20, 25)),
        ("РУ", 4, (13, 23, 32, 38)),
        ("РУ", 5, (17, 28, 38, 45)),
        ("РУ", 6, (24, 34, 44, 51)),
        ("РУ", 7, (21, 31, 41, 47)),
        ("РУ", 8, (25, 31, 44, 51)),
    ],
)
def test_vpr_2021_russian_and_mathematics_as_printed(
    subject: str, grade: int, ends: tuple[int, ...]
) -> None:
    scale = scale_table("ВПР", subject, grade=grade, year=2021)
    assert tuple(last for _, last in scale.marks) == ends
    assert scale.maximum == ends[-1]
    assert scale.borders == tuple(end + 1 for end in ends[:3])
    assert (scale.status, scale.second_hand, scale.reference) == ("documented", False, "VPR2021")


def test_biology_of_grade_7_has_two_tests() -> None:
    own = scale_table("ВПР", "БИ", grade=7, year=2021, variant="по образцу 7 класса")
    higher = scale_table("ВПР", "БИ", grade=7, year=2021, variant="по образцу 8 класса")
    assert (int(own.mark_of(12)), int(higher.mark_of(12))) == (3, 2)
    with pytest.raises(SpecificationError, match="по образцу 8 класса"):
        scale_table("ВПР", "БИ", grade=7, year=2021)


def test_tables_printed_with_an_overlap_are_refused() -> None:
    with pytest.raises(SpecificationError, match=r"both hold 35"):
        scale_table("ВПР", "ГЕ", grade=8, year=2021)
    with pytest.raises(SpecificationError, match=r"both hold 5, 6"):
        scale_table("ГВЭ", "ИН", year=2023)


def test_a_correction_of_ours_loads_only_by_its_status() -> None:
    with pytest.raises(SpecificationError, match="proposal"):
        scale_table("ВПР", "ГЕ", grade=8, year=2021, variant="corrected")
    scale = scale_table("ВПР", "ГЕ", grade=8, year=2021, variant="corrected", status="proposal")
    assert scale.mark_of([34, 35]).tolist() == [4, 5]


def test_every_other_table_is_a_scale_with_a_source() -> None:
    records = scale_records()["table"]
    assert len(records) >= 50
    refused = set()
    for record in records:
        variant = record.get("variant", "")
        try:
            scale = scale_table(
                record["exam"],
                record["subject"],
                grade=record["grade"],
                year=record["year"],
                variant=variant,
                status=record["status"],
            )
        except SpecificationError:
            refused.add((record["exam"], record["subject"], record["grade"], variant))
            continue
        marks = scale.band_of(np.arange(scale.maximum + 1))
        assert marks[0] == 2
        assert marks[-1] == 5
        assert set(np.diff(marks)) <= {0, 1}
        assert reference(scale.reference).citation
    assert refused == MISPRINTED


def test_keys_are_unique() -> None:
    fields = ("exam", "subject", "grade", "year", "variant", "region")
    keys = [tuple(r.get(f, "") for f in fields) for r in scale_records()["table"]]
    assert len(keys) == len(set(keys))
    minima = [(r["exam"], r["subject"], r["year"], r["kind"]) for r in scale_records()["minimum"]]
    assert len(minima) == len(set(minima))


def test_minima_of_ege() -> None:
    # Between 24 and 35: the certificate is earned, the federal bound of universities is not.
    assert minimum_score("ЕГЭ", "РУ", year=2026).value == 24
    assert minimum_score("ЕГЭ", "РУ", year=2026, kind="university_federal").value == 36
    assert minimum_score("ЕГЭ", "РУ", year=2026, kind="university_minobrnauki").value == 40
    assert minimum_score("ЕГЭ", "МА-профиль", year=2026).value == 27
    for record in scale_records()["minimum"]:
        assert reference(record["reference"]).citation


def test_marks_by_the_total_alone_ignore_the_condition() -> None:
    assert scale_table("ОГЭ", "МА", year=2023).band_of([7, 8, 22]).tolist() == [2, 3, 5]


def test_conditions_broadcast() -> None:
    scale = scale_table("ОГЭ", "МА", year=2023)
    assert scale.mark_of([8, 15, 22], geometry=1).tolist() == [2, 2, 2]
    assert scale.mark_of(np.array([[8, 15], [22, 0]]), geometry=2).tolist() == [[3, 4], [5, 2]]


def test_a_region_reads_its_own_scale(tmp_path) -> None:
    path = tmp_path / "шкалы.toml"
    path.write_text(
        '[[table]]\nexam = "ОГЭ"\nsubject = "РУ"\ngrade = 9\nyear = 2020\nregion = "Север"\n'
        "marks = [[0, 12], [13, 22], [23, 28], [29, 33]]\n"
        'status = "unverified"\nreference = "order"\n',
        encoding="utf-8",
    )
    (scale,) = read_scales(path)
    assert isinstance(scale, ScaleTable)
    assert (scale.region, scale.status, int(scale.mark_of(13))) == ("Север", "unverified", 3)
