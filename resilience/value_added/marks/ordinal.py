"""Value added from counts of marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from resilience.data.design import FormulaColumns, formula_columns
from resilience.data.mark_cells import read_mark_cells
from resilience.data.mark_layout import Layout, lay_out, separable_parts
from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.marks.ordinal import OrdinalFit, fit_ordinal
from resilience.stats.marks.ordinal_data import RandomParts
from resilience.validation import check_choice, check_fraction
from resilience.value_added.marks.ordinal_fitted import total_variance
from resilience.value_added.marks.ordinal_results import OrdinalSchoolResults
from resilience.value_added.marks.ordinal_tables import ordinal_results

__all__ = ["Cohort", "MarkParts", "OrdinalSchoolModel"]

Floats = NDArray[np.float64]

_CLASSES = "class_label"
_REFITS = 6  # of the unit of means beside counts
_UNIT_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Which cells share pupils, and how alike two results of one pupil are.

    Attributes
    ----------
    column : str
        Cells of one school with one value of it hold the same pupils (one cohort in two subjects,
        or in two years: ``year − grade``).
    correlation : float
        Correlation of two latent results of one pupil within school, in [0, 1).  It is stated, not
        estimated, where no pupils are linked; .5 by default, a proposal.

    Raises
    ------
    SpecificationError
        If the correlation lies outside [0, 1).
    """

    column: str
    correlation: float = 0.5

    def __post_init__(self) -> None:
        check_fraction(self.correlation, argument="Cohort.correlation")
        if self.correlation >= 1:
            raise SpecificationError(text("value_added_marks.correlation", value=self.correlation))


@dataclass(frozen=True, kw_only=True)
class MarkParts:
    """Random parts beside the lasting effect of the school.

    Attributes
    ----------
    year, procedure : bool or None
        School × year (does not last) and school × procedure (lasts).  None: where the data hold two
        years, two procedures of one school.
    cell : bool or None
        School × year × procedure, beyond chance.  None: where some school has two procedures in
        each of two years, without which it repeats another part.
    spread : bool
        The spread of pupils differs between schools (heteroscedastic): one log-spread per school,
        drawn towards the region's with the strength that the data support.
    procedure_spread : bool
        The spread of pupils around their school differs between procedures: the schools' effects
        weigh more in one procedure than in another.  False: the same share everywhere.
    """

    year: bool | None = None
    procedure: bool | None = None
    cell: bool | None = None
    spread: bool = False
    procedure_spread: bool = False


@dataclass(frozen=True, eq=False)
class OrdinalSchoolModel:
    r"""Value added from counts of marks: a multilevel heteroscedastic ordered probit.

    .. math::

       P(\text{mark}_{ijtp} \le k) = \Phi\!\left(\frac{c_{k,pt} - \eta_{jtp}}{\sigma_{jp}}\right),
       \qquad \eta_{jtp} = x_{jtp}'\beta + u_j + v_{jt} + w_{jp} [+ \varepsilon_{jtp}],

    :math:`u_j` the lasting effect of the school, :math:`v_{jt}` of one year, :math:`w_{jp}` of one
    procedure, :math:`\log\sigma_{jp} = \gamma_p + \delta_j` where asked for.  Thresholds are free
    in every procedure and year, so that an easier form or a kinder scale changes no effect.  The
    unit is the SD of pupils of the region within procedure and year.

    Parameters
    ----------
    formula : str
        Covariates of schools, for instance ``"~ context_index"``; ``"~ 1"`` for none.
    group : str
        School column.
    time, procedure : str or None
        Year and procedure columns; None where the table has one year, one procedure.
    marks : str or sequence of str
        Columns of counts, lowest mark first; a single column with ``participants`` is a share (one
        threshold: a binomial probit).
    participants : str, optional
        Participants, to which the marks must sum.
    means : (str, str), optional
        Columns of a mean and its sampling variance, both in SD of pupils of the region, for rows
        that hold these instead of counts (a mixture by procedure).
    cohort : Cohort, optional
        Which cells share pupils.  Without it every cell is taken to hold other pupils, which makes
        intervals too short where they do not.
    parts : MarkParts, optional
        Random parts.

    References
    ----------
    Reardon2017; TierneyKadane1986.

    Examples
    --------
    >>> import resilience as rs
    >>> region = rs.load_dataset("north_region")
    >>> oge = region.counts[region.counts["procedure"].str.startswith("ОГЭ")]
    >>> va = rs.OrdinalSchoolModel("~ 1", cohort=rs.Cohort(column="year")).fit(oge)
    >>> round(va.information, 2)
    0.84
    """

    formula: str = "~ 1"
    group: str = "school_id"
    time: str | None = "year"
    procedure: str | None = "procedure"
    marks: str | Sequence[str] = ("n_2", "n_3", "n_4", "n_5")
    participants: str | None = None
    means: tuple[str, str] | None = None
    cohort: Cohort | None = None
    parts: MarkParts | None = None

    def fit(
        self,
        data: pd.DataFrame,
        *,
        method: Literal["reml", "ml"] = "reml",
        random_state: int | None = None,
    ) -> OrdinalSchoolResults:
        """Fit the model.

        Parameters
        ----------
        data : DataFrame
            One row per school, year and procedure; or per class of these, where the table has the
            column ``class_label``: the classes of a cell are added up.
        method : {"reml", "ml"}
            ``reml`` integrates thresholds and coefficients out with the effects; ``ml`` maximises
            over them, for likelihood-ratio tests of covariates.  Both by Laplace.
        random_state : int, optional
            Seed of the draws behind the rank intervals (of up to 100 schools), 0 by default; the
            estimates use none.

        Returns
        -------
        OrdinalSchoolResults

        Raises
        ------
        DataError, SpecificationError
            For bad input, with culprit, rule, value and way out.

        Warns
        -----
        WeakDataWarning
            Fewer than 10 schools, a variance of zero, a fit that did not converge.
        """
        check_choice(method, ("reml", "ml"), argument="method")
        columns = self._columns()
        cells = read_mark_cells(
            data,
            group=self.group,
            time=self.time,
            procedure=self.procedure,
            marks=self.marks,
            participants=self.participants,
            means=self.means,
            covariates=columns.variables,
            cohort=self.cohort.column if self.cohort else None,
            classes=_CLASSES if _CLASSES in data.columns else None,
        )
        if len(cells.school_labels) < 2:
            raise DataError(
                text("value_added.few_groups", group=repr(self.group), n=len(cells.school_labels))
            )
        layout = lay_out(cells, columns, self.cohort.column if self.cohort else None)
        parts = self._parts(layout)
        with threadpool_limits(limits=1):
            fitted, unit = self._fitted(layout, parts, method)
            self._warn_of_weakness(fitted, len(cells.school_labels))
            return ordinal_results(
                fitted,
                layout,
                unit=unit,
                model=(self.formula, self.group, self.time, self.procedure),
                correlation=self.cohort.correlation if self.cohort else 0.0,
                method=method,
                random_state=random_state or 0,
            )

    def _columns(self) -> FormulaColumns:
        left, tilde, right = self.formula.partition("~")
        if tilde and left.strip():
            raise SpecificationError(
                text("value_added_marks.two_sided", formula=repr(self.formula), left=left.strip())
            )
        return formula_columns(f"marks ~ {right if tilde else self.formula}")

    def _parts(self, layout: Layout) -> RandomParts:
        """Return the random parts that were asked for and that the data can tell apart."""
        asked = self.parts or MarkParts()
        cells, rows = layout.cells, layout.rows
        there = separable_parts(layout)
        counted = cells.counts[rows].sum(axis=1) > 0
        tested = len(np.unique(cells.procedure[rows][counted]))
        if asked.spread and layout.borders.shape[1] < 2:
            raise SpecificationError(text("value_added_marks.part_spread"))
        if asked.procedure_spread and tested < 2:
            raise SpecificationError(text("value_added_marks.part_procedure_spread", n=tested))
        for name, told in there.items():
            if getattr(asked, name) and not told:
                raise SpecificationError(text(f"value_added_marks.part_{name}"))
        return RandomParts(
            year=there["year"] if asked.year is None else asked.year,
            procedure=there["procedure"] if asked.procedure is None else asked.procedure,
            cell=there["cell"] if asked.cell is None else asked.cell,
            spread=asked.spread,
            procedure_spread=asked.procedure_spread,
        )

    def _fitted(
        self, layout: Layout, parts: RandomParts, method: Literal["reml", "ml"]
    ) -> tuple[OrdinalFit, float]:
        """Fit; with means beside counts, until the unit of the means is that of the marks."""
        correlation = self.cohort.correlation if self.cohort else 0.0
        unit = 1.1
        for _ in range(_REFITS):
            data = layout.data(parts, correlation, unit)
            fitted = fit_ordinal(data, method=method)
            found = float(np.sqrt(total_variance(fitted, layout)[1]))
            settled = abs(found / unit - 1.0) < _UNIT_TOLERANCE
            unit = found
            if settled or not layout.is_mean.any():
                break
        return fitted, unit

    def _warn_of_weakness(self, fitted: OrdinalFit, n_schools: int) -> None:
        found = []
        if n_schools < 10:
            found.append(text("value_added.weak_groups", group=repr(self.group), n=n_schools))
        names = {
            "school": self.group,
            "year": f"{self.group}:{self.time}",
            "procedure": f"{self.group}:{self.procedure}",
        }
        for part, name in names.items():
            # a spread or a cell part of zero is a simpler model, not a weak one
            if part in fitted.state.gradient and getattr(fitted.scales, part) == 0.0:
                found.append(
                    text("value_added.weak_variance", group=repr(name), variance="0", n=n_schools)
                )
        if not fitted.convergence.converged:
            gradient = f"{fitted.convergence.gradient_norm:.2g}"
            found.append(text("value_added.not_converged", gradient=gradient))
        for wording in found:
            warn_weak_data(wording)
