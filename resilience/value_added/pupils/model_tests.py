r"""Likelihood-ratio tests of nested value-added models.

For a smaller model inside a larger one the statistic is the difference of the criteria.  With the
smaller model true it has the distribution :math:`\chi^2_d`, d the parameters more, except where one
of them is a variance: zero lies on the edge of what a variance can be, and

.. math:: T \sim \tfrac12\chi^2_{d-1} + \tfrac12\chi^2_{d},

whether the variance comes alone (d = 1) or with its covariances to q terms of its level (d = q+1).
With several variances at once the weights of the mixture depend on the design; the plain
:math:`\chi^2_d` is then an upper limit of the p-value, and the parametric bootstrap gives the value
itself.  A structure is nested in a wider one of the same effects (identity in compound symmetry,
diagonal and AR(1), these in unstructured) with no parameter on an edge; so are years that are
independent or fade, beside what lasts, in years with any covariance.  One lasting effect alone is
the matrix of rank one among these, and T years then add T - 1 variances.  Fading years added to a
model without years bring a correlation that means nothing at a variance of zero: no distribution
is known, and the p-value is that of :math:`\chi^2_2`.

Fits by REML answer only to random parts: their criterion holds the log-determinant of the fixed
part's own information, so that two fixed parts have criteria of different data.
Sources: SelfLiang1987; StramLee1994.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from resilience.errors import DataError, SpecificationError
from resilience.i18n import Bilingual, text
from resilience.results import Results
from resilience.stats.crossed.crossed_products import CrossedProducts
from resilience.stats.crossproducts import ONES, CrossProducts
from resilience.stats.mixed import LevelEffects
from resilience.stats.strata.strata_fit import StrataFit
from resilience.value_added.results import ValueAddedResults

__all__ = [
    "LikelihoodRatioResults",
    "anova",
    "incomparable_data",
    "n_parameters",
    "random_parameters",
]

_SAME = 1e-9  # relative difference of sums over the same rows in another order
_NO_MIXTURE = 1000  # added by a level whose correlation means nothing where its variance is zero
_WORSE = 1e-4  # by which a larger model's criterion may exceed a smaller one's before it is said


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LikelihoodRatioResults(Results):
    """Tests of each model against the one before it.

    Attributes
    ----------
    table : DataFrame
        ``specification formula method n_parameters criterion_value aic bic likelihood_ratio df
        p_value p_value_plain basis``, from the smallest model to the largest; ``p_value_plain`` is
        that of the χ² without a mixture, ``basis`` says which distribution was used and why.
    largest : ValueAddedResults
        The model with the most parameters.

    References
    ----------
    SelfLiang1987; StramLee1994.
    """

    table: pd.DataFrame
    largest: ValueAddedResults

    def tidy(self) -> pd.DataFrame:
        """Return one row per model."""
        return self.table.copy()

    def glance(self) -> pd.DataFrame:
        """Return one row: models, rows, and the last test."""
        last = self.table.iloc[-1]
        return pd.DataFrame(
            {
                "n_models": [len(self.table)],
                "n_rows": [self.largest.mixed.n_rows],
                "method": [self.largest.method],
                "likelihood_ratio": [last["likelihood_ratio"]],
                "df": [last["df"]],
                "p_value": [last["p_value"]],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return ``data`` with the fitted values of the largest model."""
        return self.largest.augment(data)

    def to_dict(self) -> dict[str, object]:
        """Return the table as plain Python objects."""
        return {"table": self.table.to_dict(orient="records")}


def anova(*results: ValueAddedResults) -> LikelihoodRatioResults:
    """Test nested models against each other by the likelihood ratio.

    Parameters
    ----------
    *results : ValueAddedResults
        Two or more fits to the same rows; the order does not matter.

    Returns
    -------
    LikelihoodRatioResults

    Raises
    ------
    SpecificationError
        For fewer than two fits, fits by different criteria, REML fits with different fixed parts,
        models that are not nested or have the same parameters.
    DataError
        If the fits rest on different rows or outcomes.

    References
    ----------
    SelfLiang1987; StramLee1994.

    Examples
    --------
    >>> import resilience as rs
    >>> from resilience.value_added.pupils.model_tests import anova
    >>> pupils = rs.load_dataset("london_exam").pupils
    >>> formula = "normexam ~ standLRT"
    >>> plain = rs.ValueAddedModel(formula, group="school_id").fit(pupils, method="ml")
    >>> slopes = rs.ValueAddedModel(formula, group="school_id", slopes="standLRT")
    >>> test = anova(plain, slopes.fit(pupils, method="ml"))
    >>> int(test.table["df"].iloc[1])
    2
    """
    if len(results) < 2:
        raise SpecificationError(text("anova.too_few", n=len(results)))
    for fit in results:
        if not isinstance(fit, ValueAddedResults):
            raise SpecificationError(text("anova.kind", kind=type(fit).__name__))
    ordered = sorted(results, key=n_parameters)
    for one, other in itertools.pairwise(ordered):
        _check_comparable(one, other)
    rows = [_row(k, fit) for k, fit in enumerate(ordered, start=1)]
    tests = [_test(small, large) for small, large in itertools.pairwise(ordered)]
    nothing = {"likelihood_ratio": np.nan, "df": np.nan, "p_value": np.nan, "p_value_plain": np.nan}
    tests = [nothing | {"basis": text("anova.first")}, *tests]
    table = pd.DataFrame([row | test for row, test in zip(rows, tests, strict=True)])
    basis = pd.Series([test["basis"] for test in tests], dtype=object)
    return LikelihoodRatioResults(table=table.assign(basis=basis), largest=ordered[-1])


def n_parameters(results: ValueAddedResults) -> int:
    """Return the number of parameters: fixed terms, variances, correlations, residual variances."""
    fitted = results.mixed
    residual = 1
    if isinstance(fitted, StrataFit):
        S = len(fitted.subjects)
        residual = S + (S * (S - 1) // 2 if fitted.strata.linked else 0)
    return len(fitted.terms) + residual + sum(random_parameters(v) for v in fitted.levels)


def random_part(results: ValueAddedResults) -> str:
    """Return the levels with their terms, and their structure where there are several terms."""
    return "; ".join(
        f"{level.name} ({', '.join('1' if t == ONES else t for t in level.terms)}"
        + (f"; {level.structure})" if len(level.terms) > 1 else ")")
        for level in results.mixed.levels
    )


def random_parameters(level: LevelEffects) -> int:
    """Return the number of variances and correlations of a level."""
    q = len(level.terms)
    if q == 1 or level.structure == "identity":
        return 1
    return {"diagonal": q, "compound_symmetry": 2, "ar1": 2}.get(level.structure, q * (q + 1) // 2)


def incomparable_data(one: ValueAddedResults, other: ValueAddedResults) -> Bilingual | None:
    """Return why two fits do not rest on the same rows and outcome, None where they do."""
    first, second = _outcome(one), _outcome(other)
    if first[0] != second[0]:
        return text("anova.outcome", first=repr(first[0]), second=repr(second[0]))
    if one.mixed.n_rows != other.mixed.n_rows:
        return text("anova.rows", first=one.mixed.n_rows, second=other.mixed.n_rows)
    apart = np.abs(first[1] - second[1])
    if (apart > _SAME * np.maximum(np.abs(first[1]), np.abs(second[1])).max()).any():
        return text("anova.sums", n=one.mixed.n_rows, outcome=repr(first[0]))
    return None


def _outcome(results: ValueAddedResults) -> tuple[str, NDArray[np.float64]]:
    """Return the outcome's name, and its mean and SD over the rows."""
    cross = results.mixed.strata.plain if isinstance(results.mixed, StrataFit) else results.cross
    if not isinstance(cross, CrossProducts | CrossedProducts):
        raise SpecificationError(text("anova.kind", kind=type(cross).__name__))
    total, scale, centre = cross.total, cross.scale[-1], cross.centre[-1]
    weight = total[0, 0]
    mean = centre + scale * total[0, -1] / weight
    square = scale**2 * (total[-1, -1] / weight - (total[0, -1] / weight) ** 2)
    return cross.columns[-1], np.array([mean, np.sqrt(max(square, 0.0))])


def _check_comparable(one: ValueAddedResults, other: ValueAddedResults) -> None:
    if one.method != other.method:
        raise SpecificationError(text("anova.method", first=one.method, second=other.method))
    reason = incomparable_data(one, other)
    if reason is not None:
        raise DataError(reason)
    if one.method == "reml" and set(one.mixed.terms) != set(other.mixed.terms):
        apart = sorted(set(one.mixed.terms) ^ set(other.mixed.terms))
        raise SpecificationError(text("anova.reml", terms=", ".join(apart)))
    if isinstance(one.mixed, StrataFit) != isinstance(other.mixed, StrataFit):
        raise SpecificationError(text("anova.subjects"))


def _row(number: int, fit: ValueAddedResults) -> dict[str, object]:
    k, n = n_parameters(fit), fit.mixed.n_rows
    return {
        "specification": str(number),
        "formula": fit.formula,
        "random_part": random_part(fit),
        "method": fit.method,
        "n_parameters": k,
        "criterion_value": fit.criterion,
        "aic": fit.criterion + 2.0 * k,
        "bic": fit.criterion + np.log(n) * k,
    }


def _test(small: ValueAddedResults, large: ValueAddedResults) -> dict[str, object]:
    """Return statistic, degrees of freedom, p-values and what they rest on."""
    missing = sorted(set(small.mixed.terms) - set(large.mixed.terms))
    if missing:
        raise SpecificationError(text("anova.not_nested", terms=", ".join(missing)))
    df = n_parameters(large) - n_parameters(small)
    if df == 0:
        raise SpecificationError(text("anova.same", formula=repr(large.formula)))
    variances = _added_variances(small, large)
    statistic = small.criterion - large.criterion
    found: dict[str, object] = {"likelihood_ratio": statistic, "df": df}
    if statistic < -_WORSE:
        basis = text("anova.worse", apart=f"{-statistic:.3g}")
        return found | {"p_value": np.nan, "p_value_plain": np.nan, "basis": basis}
    at = max(statistic, 0.0)
    plain = float(special.chdtrc(df, at))
    if variances == 0:
        return found | {
            "p_value": plain,
            "p_value_plain": plain,
            "basis": text("anova.plain", df=df),
        }
    if variances > 1:
        unknown = variances >= _NO_MIXTURE
        basis = text("anova.fading" if unknown else "anova.several", df=df, n=variances)
        return found | {"p_value": plain, "p_value_plain": plain, "basis": basis}
    lower = float(special.chdtrc(df - 1, at)) if df > 1 else float(at <= 0.0)
    return found | {
        "p_value": 0.5 * lower + 0.5 * plain,
        "p_value_plain": plain,
        "basis": text("anova.mixture", lower=df - 1, df=df),
    }


def _added_variances(small: ValueAddedResults, large: ValueAddedResults) -> int:
    """Return how many variances the larger model adds, or raise if it does not hold the smaller."""
    own = {level.name: level for level in large.mixed.levels}
    known = {level.name: level for level in small.mixed.levels}
    held = {
        name: home.name
        for name, level in known.items()
        if name not in own
        for home in own.values()
        if _holds_years(level, home)
    }
    lost = [name for name in known if name not in own and name not in held]
    if lost:
        raise SpecificationError(text("anova.levels", levels=", ".join(lost)))
    linked = [getattr(fit.mixed, "strata", None) for fit in (small, large)]
    if linked[0] is not None and linked[1] is not None and linked[0].linked > linked[1].linked:
        raise SpecificationError(text("anova.levels", levels="residual"))
    with_years = set(held.values())
    return sum(_step(known.get(v.name), v, v.name in with_years) for v in own.values())


def _by_category(level: LevelEffects) -> list[str]:
    """Return the terms of a level that are effects by category; they add up to an intercept."""
    return [] if ONES in level.terms else [t for t in level.terms if "=" in t]


def _holds_years(years: LevelEffects, home: LevelEffects) -> bool:
    r"""Tell whether years of units, independent or AR(1), are a special case of any covariance.

    What lasts and what passes give :math:`\tau^2 + \sigma^2\rho^{|t-s|}`, which lies inside of what
    the matrix may be as long as no variance is zero.
    """
    column = years.name.removeprefix(f"{home.name}:")
    own = [t for t in _by_category(home) if t.startswith(f"{column}=")]
    return bool(own) and home.structure == "unstructured" and column != years.name


def _step(small: LevelEffects | None, large: LevelEffects, with_years: bool = False) -> int:
    """Return how many variances a level adds to what it was."""
    if small is None:
        if large.structure in ("unstructured", "diagonal"):
            return len(large.terms)
        return {"compound_symmetry": 2, "ar1": _NO_MIXTURE}.get(large.structure, 1)
    parts = _by_category(large)
    if ONES in small.terms and parts and large.structure in ("unstructured", "compound_symmetry"):
        # one effect for all categories is the matrix of rank 1 with all entries alike
        rest = set(small.terms) - {ONES}
        alone = large.structure == "unstructured" or not rest
        if rest <= set(large.terms) - set(parts) and alone:
            if large.structure == "compound_symmetry":
                return 1
            return len(large.terms) - len(rest) - (len(parts) if with_years else 1)
    more = set(large.terms) - set(small.terms)
    if small.terms == (ONES,) and large.structure == "ar1":
        return 0  # independent years are an AR(1) with the correlation 0
    if set(small.terms) - set(large.terms) or not _holds(small, large, bool(more)):
        raise SpecificationError(
            text(
                "anova.structure",
                level=repr(large.name),
                small=f"{small.structure}({', '.join(small.terms)})",
                large=f"{large.structure}({', '.join(large.terms)})",
            )
        )
    return len(more)  # a structure set free: no correlation or ratio of variances is on an edge


def _holds(small: LevelEffects, large: LevelEffects, more: bool) -> bool:
    """Tell whether one covariance structure is a special case of another."""
    if len(small.terms) == 1 and large.structure in ("unstructured", "diagonal"):
        return True
    wider: dict[str, tuple[str, ...]] = {
        "identity": ("diagonal", "compound_symmetry", "ar1", "unstructured"),
        "diagonal": ("unstructured",),
        "compound_symmetry": ("unstructured",),
        "ar1": ("unstructured",),
    }
    if more:
        return large.structure == "unstructured" or (
            small.structure in ("identity", "diagonal") and large.structure == "diagonal"
        )
    return large.structure == small.structure or large.structure in wider.get(small.structure, ())
