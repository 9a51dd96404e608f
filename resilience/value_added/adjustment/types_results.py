"""Both types side by side: what is printed, and which verdicts hang on the composition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from resilience.errors import DataError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.value_added.definitions.question import Question
from resilience.value_added.fits.fitted import PupilFit

__all__ = ["TypesResults"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TypesResults(Results):
    """Type A beside Type B of one fit.

    Attributes
    ----------
    table : DataFrame
        ``school_id n_pupils effect_a std_error_a verdict_a effect_b std_error_b verdict_b
        difference std_error_difference changed``: the difference is what the school's composition
        explains of its Type A effect, shrunken as that effect is, and its error is one for that
        shrunken part; verdicts are bands of probability.
    composition : DataFrame
        Coefficients of the composition in Type B: ``term composition_kind estimate std_error
        statistic p_value conf_low conf_high``.
    type_a, type_b : ValueAddedResults
        Both fits.
    question : Question
        Since when the school's part is counted, in both.
    """

    table: pd.DataFrame
    composition: pd.DataFrame
    type_a: PupilFit
    type_b: PupilFit
    question: Question

    @property
    def changed(self) -> pd.DataFrame:
        """Schools whose band differs, the largest difference first."""
        rows = self.table[self.table["changed"]]
        order = rows["difference"].abs().sort_values(ascending=False, kind="stable").index
        return rows.loc[order].reset_index(drop=True)

    @property
    def correlation(self) -> float:
        """Correlation of the two effects over schools; NaN where one does not vary."""
        a, b = (self.table[f"effect_{kind}"].to_numpy(dtype=float) for kind in "ab")
        if a.std() <= 0 or b.std() <= 0:
            return float("nan")
        return float(np.corrcoef(a, b)[0, 1])

    def tidy(self) -> pd.DataFrame:
        """Return one row per school."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: question, schools, verdicts that change, agreement, school variances."""
        words: list[Bilingual] = [self.question.describe()]
        return pd.DataFrame(
            {
                "question": pd.Series(words, dtype=object),
                "n_schools": [len(self.table)],
                "n_changed": [int(self.table["changed"].sum())],
                "types_correlation": [self.correlation],
                "std_dev_a": [float(np.sqrt(self.type_a.variances["persistent"]))],
                "std_dev_b": [float(np.sqrt(self.type_b.variances["persistent"]))],
                "largest_difference": [float(self.table["difference"].abs().max())],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with each school's two effects, their difference and whether they agree.

        Raises
        ------
        DataError
            If the column of schools is not there.
        """
        group = self.type_b.group
        if group not in data.columns:
            raise DataError(text("value_added.augment_group", group=repr(group), n=len(data)))
        columns = ["effect_a", "effect_b", "difference", "std_error_difference", "changed"]
        return data.join(self.table.set_index("school_id")[columns], on=group)

    def to_dict(self) -> dict[str, Any]:
        """Return tables and both fits as plain Python objects."""
        return super().to_dict() | {"question": self.question.key}
