"""What a risk profile holds: scores, bands, what was eliminated, and why, in two languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.columns import label
from resilience.detection.risk_factors import RiskFactor
from resilience.detection.verdicts.results import Explanation
from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, check_language, text
from resilience.results import Results
from resilience.validation import check_columns, nearest_names, shorten

__all__ = ["KEY", "ROUNDING", "RiskProfileResults", "at_or_above", "check_count", "joined"]

Floats = NDArray[np.float64]

KEY = ["school_id", "year"]
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RiskProfileResults(Results):
    """Risk factors of schools, each with its coverage and its band.

    Attributes
    ----------
    factors : DataFrame
        ``school_id year risk_factor factor_title risk_score risk_coverage risk_band``: one row per
        school-year and factor.  The score is 0 to 100, NaN where too few items are known.
    schools : DataFrame
        ``school_id year n_high_factors n_unknown_factors n_risk_factors``: one row per
        school-year.
    items : DataFrame
        ``school_id year risk_factor risk_item item_value item_risk item_weight``: what the scores
        were computed from; NaN where the item is missing.
    definition : tuple of RiskFactor
        The factors as they were scored.
    high, medium : float
        A score of at least ``high`` is high, of at least ``medium`` and below ``high`` medium.
    min_coverage : float
        Least share of a factor's weights that must be known.
    notes : tuple of Bilingual
        What a reader must know: the scoring is a proposal, factors without items.
    """

    factors: pd.DataFrame
    schools: pd.DataFrame
    items: pd.DataFrame
    definition: tuple[RiskFactor, ...]
    high: float
    medium: float
    min_coverage: float
    notes: tuple[Bilingual, ...]

    def title(self, lang: str = "en") -> str:
        """Return the heading of the printed summary."""
        return text("risk.title").localized(lang)

    def tidy(self) -> pd.DataFrame:
        """Return the scores, one row per school-year and factor."""
        return self.factors.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: sizes, cut-offs, and the schools with a high factor in the last year."""
        last = self.schools[self.schools["year"] == self.schools["year"].max()]
        row = {
            "n_schools": self.schools["school_id"].nunique(),
            "n_years": self.schools["year"].nunique(),
            "n_risk_factors": len(self.definition),
            "risk_high_from": self.high,
            "risk_medium_from": self.medium,
            "year": int(self.schools["year"].max()),
            "n_with_high_factor": int((last["n_high_factors"] > 0).sum()),
            "n_with_unknown_factor": int((last["n_unknown_factors"] > 0).sum()),
        }
        return pd.DataFrame([row])

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the numbers of high, unknown and all factors by school and year.

        Raises
        ------
        DataError
            If ``data`` lacks ``school_id`` or ``year``.
        SpecificationError
            If ``data`` holds one of the columns already.
        """
        return joined(data, self.schools)

    def eliminated(self, year: int | None = None) -> pd.DataFrame:
        """Return which high factors of the year before were high no longer, on the same items.

        Both years are scored anew from the items known in both, so that a risk cannot vanish by
        being reported no more, nor by a new item being asked.

        Parameters
        ----------
        year : int, optional
            The later year; the latest by default.  The earlier one is the year before it.

        Returns
        -------
        DataFrame
            ``school_id year risk_factor risk_before risk_after n_items_common eliminated``; the
            answer is ``not_applicable`` where the factor was not high before,
            ``insufficient_data`` where either year is unknown.

        Raises
        ------
        DataError
            If the profile lacks one of the two years.

        References
        ----------
        T12 (1.2.6-2); the rule is a proposal.
        """
        years = sorted({int(y) for y in self.schools["year"]})
        last = years[-1] if year is None else year
        if last not in years or last - 1 not in years:
            raise DataError(text("risk.no_pair", year=repr(last), years=shorten(years, 12)))
        wide = {
            t: self.items[self.items["year"] == t].set_index(
                ["school_id", "risk_factor", "risk_item"]
            )
            for t in (last - 1, last)
        }
        index = wide[last - 1].index.union(wide[last].index, sort=True)
        before, after = (wide[t]["item_risk"].reindex(index) for t in (last - 1, last))
        weight = wide[last]["item_weight"].reindex(index)
        weight = weight.fillna(wide[last - 1]["item_weight"].reindex(index))
        common = before.notna() & after.notna()
        used = weight.where(common, 0.0)
        sums = pd.DataFrame(
            {
                "before": before.fillna(0.0) * used,
                "after": after.fillna(0.0) * used,
                "used": used,
                "all": weight,
                "n_items_common": common,
            }
        )
        grouped = sums.groupby(level=["school_id", "risk_factor"], sort=True).sum().reset_index()
        known = grouped["used"] >= self.min_coverage * grouped["all"] - ROUNDING
        known &= grouped["used"] > 0
        score = {
            t: (grouped[t] / grouped["used"].where(known)).to_numpy(float)
            for t in ("before", "after")
        }
        was, stays = (at_or_above(score[t], self.high) for t in ("before", "after"))
        answer = np.where(was, np.where(stays, "no", "yes"), "not_applicable")
        answer = np.where(known, answer, "insufficient_data")
        return pd.DataFrame(
            {
                "school_id": grouped["school_id"],
                "year": last,
                "risk_factor": grouped["risk_factor"],
                "risk_before": score["before"],
                "risk_after": score["after"],
                "n_items_common": grouped["n_items_common"].astype("int64"),
                "eliminated": answer.astype(str),
            }
        )

    def explain(self, school_id: str, *, year: int | None = None, lang: str = "en") -> Explanation:
        """Return every factor of a school with its items, as a table and in words.

        Parameters
        ----------
        school_id : str
            The school.
        year : int, optional
            The latest of the school by default.
        lang : {"en", "ru"}
            Language.

        Raises
        ------
        DataError
            If the school, or the year of the school, is not in the profile.
        """
        check_language(lang)
        ids = self.schools["school_id"].astype(str)
        if str(school_id) not in set(ids):
            near = nearest_names(str(school_id), ids.unique())
            raise DataError(text("risk.no_school", school=school_id, nearest=near))
        years = sorted(int(y) for y in self.schools.loc[ids == str(school_id), "year"])
        chosen = years[-1] if year is None else year
        if chosen not in years:
            raise DataError(
                text("risk.no_year", school=school_id, year=repr(chosen), years=shorten(years, 12))
            )
        own = self.items[
            (self.items["school_id"].astype(str) == str(school_id)) & (self.items["year"] == chosen)
        ]
        rows = self.factors[
            (self.factors["school_id"].astype(str) == str(school_id))
            & (self.factors["year"] == chosen)
        ]
        sentences = [
            self._sentence(row, own[own["risk_factor"] == row["risk_factor"]], lang)
            for row in rows.to_dict(orient="records")
        ]
        sentences += [note.localized(lang) for note in self.notes]
        table = own.drop(columns=KEY).reset_index(drop=True)
        return Explanation(
            school_id=str(school_id), lang=lang, table=table, sentences=tuple(sentences)
        )

    def _sentence(self, row: dict[Any, Any], items: pd.DataFrame, lang: str) -> str:
        parts = []
        for item in items.to_dict(orient="records"):
            known = item["item_risk"] == item["item_risk"]
            parts.append(
                text(
                    "risk.explain_item" if known else "risk.explain_item_missing",
                    item=label(str(item["risk_item"]), lang),
                    **(
                        {
                            "value": _number(item["item_value"], lang, "g"),
                            "risk": _number(item["item_risk"], lang),
                        }
                        if known
                        else {}
                    ),
                ).localized(lang)
            )
        score = row["risk_score"]
        if score != score:
            sentence = text(
                "risk.explain_unknown",
                factor=row["factor_title"],
                share=f"{100 * row['risk_coverage']:.0f}",
                least=f"{100 * self.min_coverage:.0f}",
            )
        else:
            sentence = text(
                "risk.explain_factor",
                factor=row["factor_title"],
                score=Bilingual(_number(score, "en"), _number(score, "ru")),
                band=row["risk_band"],
                share=f"{100 * row['risk_coverage']:.0f}",
            )
        return f"{sentence.localized(lang)} {'; '.join(parts)}."

    def summary(self, lang: str = "en") -> str:
        """Return heading, one-row summary, counts by factor in the last year, and notes."""
        last = self.factors[self.factors["year"] == self.factors["year"].max()]
        lines = [super().summary(lang).split("\n\n")[0], ""]
        for factor in self.definition:
            own = last[last["risk_factor"] == factor.id]
            score = own["risk_score"].to_numpy(dtype=float)
            high = at_or_above(score, self.high)
            lines.append(
                text(
                    "risk.summary_factor",
                    factor=factor.wording,
                    high=int(high.sum()),
                    medium=int((at_or_above(score, self.medium) & ~high).sum()),
                    low=int((np.isfinite(score) & ~at_or_above(score, self.medium)).sum()),
                    unknown=int(np.isnan(score).sum()),
                    status=text(f"risk.status_{factor.status}"),
                ).localized(lang)
            )
        return "\n".join([*lines, "", *(f"* {note.localized(lang)}" for note in self.notes)])


def at_or_above(score: Floats, cut: float) -> NDArray[np.bool_]:
    """Return whether a score reaches a cut-off; sums of weights may fall short by rounding."""
    return np.asarray(np.nan_to_num(score, nan=-1.0) >= cut - ROUNDING)


def joined(data: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Return ``data`` with further columns by school and year, rows and index as they were."""
    check_columns(data, KEY, table="data")
    taken = [c for c in own.columns if c not in KEY and c in data.columns]
    if taken:
        raise SpecificationError(text("risk.augment_taken", columns=", ".join(taken)))
    merged = data.merge(own, on=KEY, how="left", validate="many_to_one")
    return merged.set_axis(data.index, axis=0)


def check_count(value: object, argument: str, most: int) -> None:
    """Raise unless the value is a whole number from 1 to ``most``."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not 1 <= value <= most:  # type: ignore[operator]  # an integer, as checked
        raise SpecificationError(
            text("risk.count", argument=argument, value=repr(value), most=most)
        )


def _number(value: float, lang: str, spec: str = ".0f") -> str:
    shown = format(value, spec)
    return shown.replace(".", ",") if lang == "ru" else shown
