"""DOMAIN oracle 14, and merged schools, gaps and new rules by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from resilience.detection.history.status import list_status

WORDS = {"T": "yes", "F": "no", "U": "insufficient_data", "X": "not_applicable"}


def record(first: int = 2017, **schools: str) -> pd.DataFrame:
    """Return verdicts from one letter per year; a dot is a year without a row."""
    return pd.DataFrame(
        [
            (name, first + k, WORDS[letter])
            for name, letters in schools.items()
            for k, letter in enumerate(letters)
            if letter != "."
        ],
        columns=["school_id", "year", "verdict"],
    )


def states(result, school: str) -> list[str]:
    own = result.statuses[result.statuses["school_id"] == school]
    return list(own["status"])


def test_oracle_14():
    found = list_status(record(A="TTF", B="TFT", C="T.T"))
    assert states(found, "A") == ["entered", "confirmed", "left"]
    assert states(found, "B") == ["entered", "left", "re_entered"]
    assert states(found, "C") == ["entered", "unknown", "entered"]
    notes = found.statuses.set_index(["school_id", "year"])["status_note"]
    assert "year without a verdict" in notes["C", 2019]
    assert "года без заключения" in notes["C", 2019].ru
    assert notes["B", 2019] == ""


def test_a_school_of_the_report_for_2018():
    """Sarmakovo no. 2: listed in 2017, confirmed in 2018, then left."""
    found = list_status(record(Sarmakovo="TTF", Tyrnyauz="TT."))
    table = found.statuses.set_index(["school_id", "year"])["status"]
    assert table["Sarmakovo", 2018] == "confirmed"
    assert table["Sarmakovo", 2019] == "left"
    assert table["Tyrnyauz", 2019] == "unknown"
    changes = found.list_changes.set_index("year")
    assert changes.loc[2018, "names_confirmed"] == "Sarmakovo, Tyrnyauz"
    assert changes.loc[2019, "names_left"] == "Sarmakovo"


@pytest.mark.parametrize("letters", ["".join(w) for w in itertools.product("TFU", repeat=4)])
def test_every_chain_of_four_years(letters):
    """Against the definition, said again in words of one school."""
    expected, listed_before = [], False
    for k, letter in enumerate(letters):
        before = letters[k - 1] if k else "U"
        if letter == "U":
            expected.append("unknown")
        elif letter == "T" and before == "T":
            expected.append("confirmed")
        elif letter == "T" and before == "F" and listed_before:
            expected.append("re_entered")
        elif letter == "T":
            expected.append("entered")
        else:
            expected.append("left" if before == "T" else "not_listed")
        listed_before |= letter == "T"
    found = list_status(record(S=letters, other="FFFF"))
    assert states(found, "S") == expected


def test_years_on_the_list_count_in_a_row():
    found = list_status(record(A="TTFTUT"))
    assert list(found.statuses["n_years_listed"].fillna(-1)) == [1, 2, 0, 1, -1, 1]


def test_a_year_nobody_has_is_unknown_for_all():
    found = list_status(record(A="T.T", B="F.F"))
    assert states(found, "B") == ["not_listed", "unknown", "not_listed"]
    assert any("2018" in note for note in found.notes)


def test_a_school_left_aside_is_unknown_and_says_so():
    found = list_status(record(A="TXT"))
    assert states(found, "A") == ["entered", "unknown", "entered"]
    assert "leaves this school aside" in found.statuses["status_note"].iloc[1]


def test_transitions_by_hand():
    """A: stay, leave; B: leave, re-enter; C: nothing known; D: off, enter."""
    found = list_status(record(A="TTF", B="TFT", C="T.T", D="FFT"))
    moves = found.transitions.set_index(["from_state", "to_state"])
    assert moves.loc[("listed", "listed"), "n_transitions"] == 1
    assert moves.loc[("listed", "not_listed"), "n_transitions"] == 2
    assert moves.loc[("not_listed", "listed"), "n_transitions"] == 2
    assert moves.loc[("not_listed", "not_listed"), "n_transitions"] == 1
    leave = moves.loc[("listed", "not_listed")]
    assert leave["transition_share"] == pytest.approx(2 / 3)
    # Wilson's 95 % interval of 2 of 3, DOMAIN oracle 2
    assert (leave["conf_low"], leave["conf_high"]) == pytest.approx((0.2077, 0.9385), abs=5e-5)


def test_a_new_rule_is_a_break():
    verdicts = record(A="TTT", B="TFF", C="FTF")
    found = list_status(
        verdicts, rule_versions={2017: "2020-2024", 2018: "2020-2024", 2019: "2025"}
    )
    table = found.statuses.set_index(["school_id", "year"])
    assert table.loc[("A", 2019), "status"] == "confirmed"
    assert table["rule_break"].groupby("year").first().tolist() == [False, False, True]
    assert "rule changed in 2019" in table.loc[("A", 2019), "status_note"]
    plain = list_status(verdicts)
    assert plain.transitions["n_transitions"].sum() == 6
    assert found.transitions["n_transitions"].sum() == 3
    assert found.durations["n_at_risk"].sum() == 2  # 2017 of A and of B


def test_a_new_successor_takes_over_the_history():
    """Two schools become one: listed if either was; unknown beside a no stays unknown."""
    verdicts = record(A="TF...", B="FFU..", N="...TF")
    found = list_status(verdicts, successors={"A": "N", "B": "N"})
    # 2019 has only B's unknown
    assert states(found, "N") == ["entered", "left", "unknown", "entered", "left"]
    assert set(found.statuses["school_id"]) == {"N"}
    assert found.mergers["taken_over"].tolist() == [True, True]


def test_a_standing_successor_keeps_its_own():
    """The merged school's row ends: neither left nor unknown, and no exit is counted."""
    verdicts = record(A="TT..", S="FFFF")
    found = list_status(
        verdicts, successors=pd.DataFrame({"school_id": ["A"], "successor_id": ["S"]})
    )
    assert states(found, "A") == ["entered", "confirmed"]
    assert states(found, "S") == ["not_listed"] * 4
    notes = found.statuses.set_index(["school_id", "year"])["status_note"]
    assert "merged school" in notes["S", 2019]
    assert found.durations["n_exits"].sum() == 0
    assert found.durations["n_at_risk"].tolist() == [1]


def test_successors_lead_on():
    verdicts = record(A="T...", B=".T..", C="..TT")
    found = list_status(verdicts, successors={"A": "B", "B": "C"})
    assert states(found, "C") == ["entered", "confirmed", "confirmed", "confirmed"]


def test_durations_against_brute_force():
    """Every listed school-year with a known year after it, one by one."""
    rng = np.random.default_rng(4)
    letters = {
        f"S{k:02d}": "".join(rng.choice(list("TFU"), p=[0.5, 0.4, 0.1], size=7)) for k in range(60)
    }
    table = list_status(record(**letters)).durations
    counted: dict[tuple[str, int], list[int]] = {}
    for word in letters.values():
        for k in range(len(word) - 1):
            if word[k] != "T" or word[k + 1] == "U":
                continue
            start = k
            while start and word[start - 1] == "T":
                start -= 1
            seen = start > 0 and word[start - 1] == "F"
            key = ("observed_entry" if seen else "running_at_start", k - start + 1)
            entry = counted.setdefault(key, [0, 0])
            entry[0] += 1
            entry[1] += word[k + 1] == "F"
    found = {
        (kind, int(d)): [int(n), int(x)]
        for kind, d, n, x in table[["spell_kind", "duration", "n_at_risk", "n_exits"]].itertuples(
            index=False
        )
    }
    assert found == counted
    own = table[table["spell_kind"] == "observed_entry"]
    assert own["survival"].to_numpy() == pytest.approx(np.cumprod(1 - own["hazard"].to_numpy()))
