"""Joint regions of result and value added, as results."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.results import Results
from resilience.value_added.definitions.question import Question, question_cell

__all__ = ["JointRegionResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class JointRegionResults(Results):
    """Joint regions of a school's mean result and its value added over windows of years.

    Attributes
    ----------
    table : DataFrame
        One row per school and window, windows ascending: ``school_id window window_last_year
        n_years n_pupils result expected_mean value_added result_std_error value_added_std_error
        error_covariance error_correlation ellipse_major ellipse_minor ellipse_angle
        p_high_positive p_high_negative p_low_positive p_low_negative quadrant verdict``.
        ``verdict`` is ``yes`` where the whole ellipse lies in one quadrant, which ``quadrant``
        names, ``no`` where it crosses a line (``between``), ``insufficient_data`` where the school
        has results in fewer than ``min_years`` years of the window; numbers are missing where it
        has none.
    question : Question
        Since when the school's part is counted.
    group : str
        School column of the model.
    window : int
        Years per window.
    level : float
        Probability with which an ellipse covers the true pair.
    threshold : float
        Line between low and high results; value added has 0.
    shares : {"pupils", "years"}
        Whether years count by their pupils or alike.
    estimate : {"observed", "model"}
        Whether the result is the observed mean or the model's estimate.
    intake : {"drawn", "given"}
        Whether the draw of the pupils' intake counts among the errors of the result.
    min_years : int
        Least number of years with results for a verdict.
    """

    table: pd.DataFrame
    group: str
    question: Question
    window: int
    level: float
    threshold: float
    shares: str
    estimate: str
    intake: str
    min_years: int

    @property
    def windows(self) -> tuple[str, ...]:
        """Labels of the windows, ascending."""
        return tuple(self.table["window"].drop_duplicates())

    def of_window(self, window: str | None = None) -> pd.DataFrame:
        """Return the rows of a window, by default of the last one.

        Parameters
        ----------
        window : str, optional
            A label among `windows`.

        Raises
        ------
        SpecificationError
            If there is no such window.
        """
        known = self.windows
        chosen = known[-1] if window is None else window
        if chosen not in known:
            raise SpecificationError(
                text("joint_regions.no_window", window=repr(window), known=", ".join(known))
            )
        return self.table[self.table["window"] == chosen].reset_index(drop=True)

    def tidy(self) -> pd.DataFrame:
        """Return the table, one row per school and window."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: sizes, what was assumed, and the verdicts of the last window."""
        last = self.of_window()
        return pd.DataFrame(
            {
                "question": question_cell(self.question),
                "n_schools": [len(last)],
                "window_years": [self.window],
                "window_count": [len(self.windows)],
                "region_level": [self.level],
                "result_line": [self.threshold],
                "result_estimate": [self.estimate],
                "intake_errors": [self.intake],
                "n_settled": [int((last["verdict"] == "yes").sum())],
                "n_between": [int((last["verdict"] == "no").sum())],
                "n_insufficient": [int((last["verdict"] == "insufficient_data").sum())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's place in the last window.

        Parameters
        ----------
        data : DataFrame
            With the school column of the model (or ``school_id``).

        Raises
        ------
        SpecificationError
            If the column is absent.
        """
        column = self.group if self.group in data.columns else "school_id"
        if column not in data.columns:
            raise SpecificationError(
                text("value_added.augment_group", group=repr(self.group), n=len(data))
            )
        columns = ["window", "result", "value_added", "quadrant", "verdict"]
        return data.join(self.of_window().set_index("school_id")[columns], on=column)
