"""The pages on rules print the rules that ship, and the rule they show is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilience.detection import Criteria, preset_ids

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"en": DOCS / "methodology" / "rules.md", "ru": DOCS / "ru" / "rules.md"}
STATUS = {
    "en": {"documented": "documented", "unverified": "unverified", "proposal": "proposal"},
    "ru": {
        "documented": "документировано",
        "unverified": "не проверено",
        "proposal": "предложение",
    },
}
ROW = re.compile(r"^\| `(\w+)` \| (.+) \| ([^|]+) \| (\w+) \|$", re.MULTILINE)


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_table_of_presets_is_true(lang: str) -> None:
    rows = {name: rest for name, *rest in ROW.findall(PAGES[lang].read_text(encoding="utf-8"))}
    assert sorted(rows) == list(preset_ids())
    for name, printed in rows.items():
        rule = Criteria.preset(name)
        assert printed == [rule.title(lang), STATUS[lang][rule.status], rule.reference]


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_the_rule_shown_is_sound(lang: str) -> None:
    page = PAGES[lang].read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (rule,) = Criteria.from_text(block)
    assert rule.validate() is rule
    assert [c.weight for c in rule] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize("lang", ["en", "ru"])
def test_every_field_is_explained(lang: str) -> None:
    page = PAGES[lang].read_text(encoding="utf-8")
    schema = Criteria.json_schema()["$defs"]
    spelled = {"title_en", "title_ru", "parameters", "criterion", "min_pupils", "level"}
    spelled |= {"procedures_at_least", "years_at_least", "years_of"}  # told by other words
    for part in ("rule", "criterion"):
        names = set(schema[part]["properties"]) - spelled
        assert {name for name in names if f"`{name}" not in page} == set()
