"""``va.check()``: all checks of one fit, their table and the data behind the panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from resilience.columns import label
from resilience.data.design_formula import formula_columns
from resilience.errors import DataError, SpecificationError
from resilience.i18n import text
from resilience.results import Results
from resilience.value_added.diagnostics.findings import Finding, findings_table, unchecked
from resilience.value_added.diagnostics.of_fit import (
    check_of_fit,
    effect_quantiles,
    level_quantiles,
)
from resilience.value_added.diagnostics.of_pupils import PupilChecks, check_of_pupils
from resilience.value_added.diagnostics.of_residuals import residual_bins
from resilience.value_added.fits.prediction import predicted_rows
from resilience.value_added.fits.refits import RefitMethods
from resilience.value_added.intake.tables_in_memory import pupils_table

__all__ = ["CheckResults", "check_results"]

_OF_PUPILS = (
    "duplicated_pupils",
    "curvature",
    "ceiling",
    "floor",
    "prior_limits",
    "unequal_spread",
    "spread_by_size",
    "pupil_normality",
    "sorting",
)
_HISTOGRAM = 40


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CheckResults(Results):
    """Findings on a fit, and the data behind the panels; ``findings`` has the gravest first.

    Attributes
    ----------
    table : DataFrame
        ``check severity check_statistic value threshold finding remedy``: one row per check, also
        where all is well; ``not_checked`` rows say why and what to do.
    effect_quantiles : DataFrame
        ``school_id standardised_effect normal_quantile``: the QQ plot of the schools' effects.
    level_quantiles : DataFrame
        ``group unit_id term standardised_effect normal_quantile``: those of every level and term.
    pupil_quantiles : DataFrame
        ``normal_quantile standardised_residual``: that of the pupils' residuals, 199 points.
    residual_bins : DataFrame
        ``prior prior_mean binned_residual binned_std_error n_pupils`` along each prior result.
    school_spread : DataFrame
        ``school_id n_pupils residual_spread``: spread within each school.
    influence : DataFrame
        ``school_id cook_distance effect_shift``, the most influential school first.
    score_histogram : DataFrame
        ``score_bin n_pupils`` of the outcome.
    group : str
        School column.
    """

    table: pd.DataFrame
    effect_quantiles: pd.DataFrame
    level_quantiles: pd.DataFrame
    pupil_quantiles: pd.DataFrame
    residual_bins: pd.DataFrame
    school_spread: pd.DataFrame
    influence: pd.DataFrame
    score_histogram: pd.DataFrame
    group: str

    @property
    def findings(self) -> pd.DataFrame:
        """Rows that ask for something, the gravest first."""
        order = {"serious": 0, "warning": 1, "note": 2}
        rows = self.table[self.table["severity"].isin(order)]
        return rows.sort_values(
            "severity", key=lambda c: c.map(order), kind="stable", ignore_index=True
        )

    def tidy(self) -> pd.DataFrame:
        """Return one row per check."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: checks by severity."""
        counts = self.table["severity"].value_counts()
        names = ("serious", "warning", "note", "ok", "not_checked")
        return pd.DataFrame({f"n_{name}": [int(counts.get(name, 0))] for name in names})

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's standardised effect and influence.

        Raises
        ------
        DataError
            If the column of schools is not there.
        """
        if self.group not in data.columns:
            raise DataError(text("value_added.augment_group", group=repr(self.group), n=len(data)))
        effects = self.effect_quantiles.set_index("school_id")[["standardised_effect"]]
        moved = self.influence.set_index("school_id")[["cook_distance"]]
        return data.join(effects, on=self.group).join(moved, on=self.group)

    def summary(self, lang: str = "en") -> str:
        """Return heading and findings as paragraphs: what, how bad, and what to do."""
        lines = [self.title(lang), "=" * len(self.title(lang))]
        for row in self.table.to_dict("records"):
            name = text(f"cells.cell_check_{row['check']}").localized(lang)
            how = text(f"cells.cell_severity_{row['severity']}").localized(lang)
            lines += ["", f"{name}: {how}", f"  {row['finding'].localized(lang)}"]
            if row["severity"] != "ok":
                lines.append(f"  {label('remedy', lang)}: {row['remedy'].localized(lang)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as plain Python objects, wordings in English."""
        found = super().to_dict()
        for row in found["table"]:
            row.update({k: str(row[k]) for k in ("check_statistic", "finding", "remedy")})
        return found


def check_results(
    results: RefitMethods,
    pupils: object = None,
    *,
    suspicious: Sequence[object] | None = None,
    key: str | Sequence[str] | None = None,
) -> CheckResults:
    """Check a fit.

    Parameters
    ----------
    results : ValueAddedResults
        The fit.
    pupils : frame of any library that narwhals knows, optional
        The pupils of the fit: results hold none.
    suspicious : sequence, optional
        Schools whose results are in doubt; the fit without them is set beside the fit.
    key : str or sequence of str, optional
        Columns that tell a pupil; by default ``Structure(unit=...)`` or ``pupil_key``.

    Raises
    ------
    DataError
        If the pupils are not those of the fit, the key is not in their table, or a school in
        doubt was not in the fit.
    SpecificationError
        If ``pupils`` is no table.
    """
    found, influence = check_of_fit(results)
    own = PupilChecks(
        findings=[unchecked(name, text("diagnostics.give_pupils")) for name in _OF_PUPILS],
        bins=residual_bins(pd.DataFrame(), ()),
        quantiles=pd.DataFrame({"normal_quantile": [], "standardised_residual": []}),
        spread=pd.DataFrame({"school_id": [], "n_pupils": [], "residual_spread": []}),
    )
    histogram = pd.DataFrame({"score_bin": [], "n_pupils": []})
    if pupils is not None:
        table = pupils_table(pupils)
        rows = predicted_rows(results, table, "schools", outcome=True)
        frame = rows.rows.frame
        outcome = frame[formula_columns(results.formula).outcome].to_numpy(dtype=float)
        augmented = frame.assign(fitted=rows.fixed, pupil_residual=outcome - rows.mean)
        own = check_of_pupils(results, augmented, table, [key] if isinstance(key, str) else key)
        histogram = _histogram(outcome)
    found += own.findings
    found.append(_suspicious(results, suspicious))
    return CheckResults(
        table=findings_table(found),
        effect_quantiles=effect_quantiles(results),
        level_quantiles=level_quantiles(results),
        pupil_quantiles=own.quantiles,
        residual_bins=own.bins,
        school_spread=own.spread,
        influence=influence,
        score_histogram=histogram,
        group=results.group,
    )


def _histogram(outcome: np.ndarray) -> pd.DataFrame:
    values = np.unique(outcome)
    if len(values) <= _HISTOGRAM:
        return pd.DataFrame(
            {"score_bin": values, "n_pupils": [int((outcome == v).sum()) for v in values]}
        )
    n, edges = np.histogram(outcome, bins=_HISTOGRAM)
    return pd.DataFrame({"score_bin": (edges[1:] + edges[:-1]) / 2.0, "n_pupils": n})


def _suspicious(results: RefitMethods, schools: Sequence[object] | None) -> Finding:
    """Fit without schools in doubt and count the bands of the others that change."""
    if schools is None or (not isinstance(schools, str) and not list(schools)):
        return unchecked("suspicious_schools", text("diagnostics.name_suspicious"))
    named = [schools] if isinstance(schools, str) else list(schools)
    try:
        without = results.leave_out(units=named)
    except SpecificationError as error:
        return unchecked("suspicious_schools", error.message)
    both = results.school_effects.merge(
        without.school_effects, on="school_id", suffixes=("", "_without")
    )
    changed = int((both["band"] != both["band_without"]).sum())
    shift = float((both["effect"] - both["effect_without"]).abs().max())
    spread = float(np.sqrt(max(results.variances["persistent"], 1e-300)))
    share = changed / max(len(both), 1)
    return Finding(
        check="suspicious_schools",
        severity="warning" if share > 0.05 or shift > 0.5 * spread else "ok",
        value=share,
        threshold=0.05,
        finding=text(
            "diagnostics.suspicious_schools",
            n=len(named),
            changed=changed,
            total=len(both),
            shift=f"{shift:.3g}",
            before=f"{spread:.3g}",
            after=f"{np.sqrt(max(without.variances['persistent'], 0.0)):.3g}",
        ),
        remedy=text("diagnostics.suspicious_schools_remedy"),
    )
