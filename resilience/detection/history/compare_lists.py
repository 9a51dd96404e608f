"""A computed list against the one that was agreed: every difference with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from resilience.detection.history.verdict_years import VERDICTS
from resilience.detection.verdicts.results import DetectionResults
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.validation import check_columns, check_finite, check_unique

__all__ = ["ListComparisonResults", "compare_lists"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ListComparisonResults(Results):
    """Two lists side by side.

    Attributes
    ----------
    schools : DataFrame
        ``school_id list_difference computed_verdict difference_reason agreed_reason``: a row per
        school that stands on either list; ``in_both``, ``computed_only`` or ``agreed_only``.
    """

    schools: pd.DataFrame

    @property
    def differences(self) -> pd.DataFrame:
        """The schools that stand on one list alone."""
        return self.schools[self.schools["list_difference"] != "in_both"].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return every school of either list."""
        return self.schools.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: sizes of the lists and their overlap (Jaccard)."""
        n = {
            k: int((self.schools["list_difference"] == k).sum())
            for k in ("in_both", "computed_only", "agreed_only")
        }
        return pd.DataFrame(
            {
                "n_computed": [n["in_both"] + n["computed_only"]],
                "n_agreed": [n["in_both"] + n["agreed_only"]],
                "n_in_both": [n["in_both"]],
                "n_computed_only": [n["computed_only"]],
                "n_agreed_only": [n["agreed_only"]],
                "list_jaccard": [n["in_both"] / len(self.schools) if len(self.schools) else np.nan],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return a table of schools with ``list_difference`` added, empty for those on no list.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id``.
        """
        check_columns(data, ["school_id"], table="data")
        known = self.schools.set_index("school_id")["list_difference"]
        own = data["school_id"].astype(str).map(known)
        return data.assign(list_difference=own.to_numpy(dtype=object))


def compare_lists(
    computed: DetectionResults | pd.DataFrame,
    agreed: pd.DataFrame | Sequence[str],
    *,
    rule_id: str | None = None,
) -> ListComparisonResults:
    """Compare the list a rule gives with the list agreed with the founders.

    The comparison explains; it does not say which list is right.  Agreement is an act of the
    authority.

    Parameters
    ----------
    computed : DetectionResults or DataFrame
        Verdicts: ``school_id verdict [reason]``.
    agreed : DataFrame or sequence of str
        Ids of the agreed schools, or ``school_id [agreed_reason]``.  A row with a reason may also
        stand for a school struck off: then a column ``agreed`` says which are on the list.
    rule_id : str, optional
        The rule, where several were applied.

    Raises
    ------
    DataError
        If a column is missing, a school repeats, a verdict is none of the four, or ``agreed`` is
        neither true nor false.
    SpecificationError
        If several rules were applied and none is named.
    """
    own = _computed(computed, rule_id)
    other = _agreed(agreed)
    on = {str(s): bool(a) for s, a in zip(other["school_id"], other["agreed"], strict=True)}
    said = dict(zip(other["school_id"], other["agreed_reason"], strict=True))
    verdicts = dict(zip(own["school_id"], own["verdict"], strict=True))
    reasons = dict(zip(own["school_id"], own["reason"], strict=True))
    names = sorted({s for s, v in verdicts.items() if v == "yes"} | {s for s, a in on.items() if a})
    rows = []
    for school in names:
        verdict, there = verdicts.get(school), on.get(school, False)
        kind = "agreed_only" if verdict != "yes" else "in_both" if there else "computed_only"
        rows.append(
            {
                "school_id": school,
                "list_difference": kind,
                "computed_verdict": verdict,
                "difference_reason": _reason(kind, verdict, reasons.get(school)),
                "agreed_reason": said.get(school, ""),
            }
        )
    columns = ["school_id", "list_difference", "computed_verdict"]
    columns += ["difference_reason", "agreed_reason"]
    table = pd.DataFrame(rows, columns=columns)
    for name in ("computed_verdict", "difference_reason", "agreed_reason"):
        table[name] = pd.Series([row[name] for row in rows], dtype=object)
    return ListComparisonResults(schools=table)


def _computed(computed: DetectionResults | pd.DataFrame, rule_id: str | None) -> pd.DataFrame:
    frame = computed.schools if isinstance(computed, DetectionResults) else computed
    check_columns(frame, ["school_id", "verdict"], table="computed")
    if "rule_id" in frame.columns:
        rules = [str(r) for r in frame["rule_id"].unique()]
        if rule_id is None and len(rules) > 1:
            raise SpecificationError(text("history.several_rules", rules=", ".join(rules)))
        if rule_id is not None:
            frame = frame[frame["rule_id"].astype(str) == rule_id]
            if frame.empty:
                raise SpecificationError(
                    text("history.no_rule", rule=rule_id, nearest=", ".join(rules))
                )
    check_unique(frame, ["school_id"], table="computed")
    strange = ~frame["verdict"].isin(VERDICTS)
    if strange.any():
        row = frame[strange].iloc[0]
        raise DataError(
            text(
                "history.verdict",
                value=repr(row["verdict"]),
                school=row["school_id"],
                options=", ".join(VERDICTS),
            )
        )
    reason = frame["reason"] if "reason" in frame.columns else pd.Series("", index=frame.index)
    return pd.DataFrame(
        {
            "school_id": frame["school_id"].astype(str).to_numpy(dtype=object),
            "verdict": frame["verdict"].astype(str).to_numpy(dtype=object),
            # a list, not an array: bilingual reasons stay what they are
            "reason": pd.Series(list(reason), dtype=object),
        }
    )


def _agreed(agreed: pd.DataFrame | Sequence[str]) -> pd.DataFrame:
    if not isinstance(agreed, pd.DataFrame):
        if isinstance(agreed, str) or not isinstance(agreed, Iterable):
            raise SpecificationError(text("history.agreed_kind", value=repr(agreed)))
        agreed = pd.DataFrame({"school_id": [str(s) for s in agreed]})
    check_columns(agreed, ["school_id"], table="agreed")
    check_finite(agreed, ["school_id"], table="agreed")
    table = agreed.assign(school_id=agreed["school_id"].astype(str))
    check_unique(table, ["school_id"], table="agreed")
    if "agreed" not in table.columns:
        table = table.assign(agreed=True)
    # a word such as «нет» would count as true
    strange = ~table["agreed"].isin([True, False])
    if strange.any():
        row = table[strange].iloc[0]
        raise DataError(
            text("history.agreed_flag", value=repr(row["agreed"]), school=row["school_id"])
        )
    if "agreed_reason" not in table.columns:
        table = table.assign(agreed_reason="")
    return table.assign(agreed_reason=table["agreed_reason"].fillna(""))


def _reason(kind: str, verdict: object, reason: object) -> Bilingual | str:
    if kind == "in_both":
        return ""
    if kind == "computed_only":
        return _because("history.diff_computed_only", reason)
    if verdict is None:
        return text("history.diff_not_judged")
    return _because(f"history.diff_{verdict}", reason)


def _because(key: str, reason: object) -> Bilingual:
    """Return the sentence, with the verdict's own reason behind it where there is one."""
    said = text(key)
    if not isinstance(reason, str) or not reason:
        return said
    own = reason if isinstance(reason, Bilingual) else Bilingual(reason, reason)
    return Bilingual(f"{said.en}: {own.en}", f"{said.ru}: {own.ru}")
