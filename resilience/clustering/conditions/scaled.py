"""Schools on the common scale of their conditions, and the frozen scaling behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from resilience.clustering.conditions.learning import variable_scale
from resilience.clustering.conditions.reading import (
    base_values,
    check_strata,
    error_values,
    read_year,
    strata_of,
)
from resilience.clustering.conditions.scales import LevelScale, VariableScale
from resilience.clustering.conditions.specification import Conditions
from resilience.data.known_variables import known_variables
from resilience.errors import SpecificationError, warn_weak_data
from resilience.i18n import Bilingual, text
from resilience.results import Results, join_by
from resilience.validation import (
    check_columns,
    check_count,
    check_fraction,
    check_instance,
    check_names,
    shorten,
)

__all__ = ["ScaledSchools", "Scaling", "scale_conditions"]

Floats = NDArray[np.float64]

CARRIED = (
    "year",
    "municipality_id",
    "n_pupils",
    "latitude",
    "longitude",
    "is_small",
    "is_rural",
    "school_type",
    "levels",
    "context_index",
)
_COPIES = 0.9  # correlation from which two variables say the same
_FEW = 10  # schools from which a correlation says something


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """Scales of all variables, learnt in the base year.

    Attributes
    ----------
    conditions : Conditions
        What they belong to.
    scales : tuple
        One for each variable, in the order of the conditions.
    year : int or None
        Base year.
    n_schools : int
        Schools they were learnt from.
    """

    conditions: Conditions
    scales: tuple[VariableScale, ...]
    year: int | None
    n_schools: int


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ScaledSchools(Results):
    """Schools whose conditions are on one scale: a unit means the same in every variable.

    Attributes
    ----------
    schools : DataFrame
        ``school_id`` and what the table has of year, municipality, enrolment, kind and place; one
        row per school in the order given.
    values : ndarray of shape (S, P)
        Scaled columns without the weights, NaN where missing; read-only.
    natural : DataFrame of shape (S, natural columns)
        The same variables in natural units; dummies of nominal levels are 0 or 1.
    natural_blocks : tuple of str
        Variable of every natural column.
    bases, errors : ndarray of shape (S, variables)
        Pupils behind shares (1 elsewhere), stated errors of numbers (0 elsewhere); read-only.
    stratum : ndarray of shape (S,)
        Label of the stratum, ``""`` without strata.
    strata : tuple of str
        Columns that part the schools.
    scaling : Scaling
        The frozen scales, reused for other years.
    year : int or None
        Year of the rows.
    warnings : tuple of Bilingual
        What the reader of any grouping should know of the variables.

    References
    ----------
    HennigLiao2013; EgozcueEtAl2003.
    """

    schools: pd.DataFrame
    values: Floats
    natural: pd.DataFrame
    natural_blocks: tuple[str, ...]
    bases: Floats
    errors: Floats
    stratum: NDArray[np.str_]
    strata: tuple[str, ...]
    scaling: Scaling
    year: int | None
    warnings: tuple[Bilingual, ...]

    def __post_init__(self) -> None:
        for name in ("values", "bases", "errors", "stratum"):
            frozen = np.array(getattr(self, name))
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)

    @property
    def conditions(self) -> Conditions:
        """The specification."""
        return self.scaling.conditions

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables."""
        return self.conditions.variables

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of every variable."""
        return {name: str(kind) for name, kind in self.conditions.kinds.items()}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scaled columns."""
        return tuple(name for scale in self.scaling.scales for name in scale.names)

    @property
    def blocks(self) -> tuple[str, ...]:
        """Variable of every scaled column."""
        return tuple(scale.variable for scale in self.scaling.scales for _ in scale.names)

    @property
    def column_weights(self) -> Floats:
        """Weight of the variable of every scaled column."""
        weights = self.conditions.weights
        return np.array([float(weights.get(name, 1.0)) for name in self.blocks])

    @property
    def z(self) -> Floats:
        """The scaled columns under their usual letter."""
        return self.values

    @property
    def weighted(self) -> Floats:
        """Scaled columns times the root of their weights: what clusters are made of."""
        return self.values * np.sqrt(self.column_weights)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Whether every variable of a school is known."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    @property
    def direction(self) -> Floats:
        """Mean of the variables with a known sign, plus = favourable; 0 where none has one."""
        signs = []
        for name in self.blocks:
            known = known_variables().get(name)
            signs.append(float(known.direction) if known else 0.0)
        signed = self.values * np.array(signs)
        counted = (~np.isnan(self.values)) & (np.array(signs) != 0.0)
        total = np.where(counted, np.nan_to_num(signed), 0.0).sum(axis=1)
        return np.asarray(total / np.maximum(counted.sum(axis=1), 1))

    @property
    def correlation(self) -> pd.DataFrame:
        """Correlation of the scaled columns over complete schools."""
        known = self.values[self.complete]
        with np.errstate(invalid="ignore", divide="ignore"):
            table = np.corrcoef(known, rowvar=False).reshape(len(self.columns), -1)
        return pd.DataFrame(table, index=list(self.columns), columns=list(self.columns))

    @property
    def factors(self) -> pd.DataFrame:
        """Return one row per variable: kind, transformation, factor, weight."""
        return pd.DataFrame(
            {
                "term": list(self.variables),
                "kind": list(self.kinds.values()),
                "transformation": [s.transformation for s in self.scaling.scales],
                "scale_factor": [s.factor for s in self.scaling.scales],
                "variable_weight": [
                    float(self.conditions.weights.get(v, 1.0)) for v in self.variables
                ],
                "n_missing": [
                    int(np.isnan(self.values[:, self._columns_of(v)]).any(axis=1).sum())
                    for v in self.variables
                ],
            }
        )

    def _columns_of(self, variable: str) -> list[int]:
        return [i for i, block in enumerate(self.blocks) if block == variable]

    def distances_to(self, points: Floats, rows: NDArray[np.int64] | None = None) -> Floats:
        r"""Return squared weighted distances of schools to points, over what is known of each.

        .. math:: d^2 K / K_{\text{observed}}

        with K the weight of all variables and that of the observed ones.

        Parameters
        ----------
        points : ndarray of shape (k, P)
            Weighted scaled values.
        rows : ndarray of int, optional
            Rows of the schools; all by default.

        Returns
        -------
        ndarray of shape (S, k)
            NaN for a school of which nothing is known.
        """
        own = self.weighted if rows is None else self.weighted[rows]
        known = ~np.isnan(own)
        filled = np.where(known, own, 0.0)
        squared = (filled**2).sum(axis=1)[:, None] - 2.0 * filled @ points.T
        squared = squared + known.astype(np.float64) @ (points**2).T
        shares = self.column_weights / np.array([self.blocks.count(b) for b in self.blocks])
        observed = known.astype(np.float64) @ shares
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.where(observed > 0, shares.sum() / observed, np.nan)
        return np.asarray(np.maximum(squared, 0.0) * scale[:, None])

    def redrawn(self, generator: np.random.Generator) -> Floats:
        """Return the scaled values with sampling and stated errors drawn once more.

        Shares and compositions as the shares of as many pupils drawn anew, numbers with their
        stated error; the scaling stays.

        Returns
        -------
        ndarray of shape (S, P)
        """
        natural = self.natural.to_numpy(dtype=np.float64)
        drawn = []
        for i, scale in enumerate(self.scaling.scales):
            own = [j for j, block in enumerate(self.natural_blocks) if block == scale.variable]
            base = self.bases[:, i]
            again = scale.redrawn(natural[:, own], base, self.errors[:, i], generator)
            drawn.append(scale.scaled(again, base))
        return np.concatenate(drawn, axis=1)

    @property
    def has_errors(self) -> bool:
        """Whether `redrawn` differs from the values at all."""
        return bool(self.errors.any()) or bool({"share", "composition"} & set(self.kinds.values()))

    def tidy(self) -> pd.DataFrame:
        """Return `factors`."""
        return self.factors

    def glance(self) -> pd.DataFrame:
        """Return one row: schools, variables, complete schools, base year."""
        return pd.DataFrame(
            {
                "n_schools": [len(self.schools)],
                "n_variables": [len(self.variables)],
                "n_complete": [int(self.complete.sum())],
                "base_year": [self.scaling.year],
            }
        )

    def augment(self, data: pd.DataFrame) -> pd.DataFrame:
        """Return the table of schools with the scaled columns added under ``z: name``.

        Raises
        ------
        DataError
            If the table has no school_id.
        """
        check_columns(data, ["school_id"], table="schools")
        own = pd.DataFrame(self.values, columns=[f"z: {name}" for name in self.columns])
        own.insert(0, "school_id", self.schools["school_id"])
        return join_by(data, own, "school_id")


def scale_conditions(
    schools: pd.DataFrame,
    conditions: Conditions,
    *,
    year: int | None = None,
    scaling: Scaling | None = None,
    strata: Sequence[str] | str = (),
    max_missing: float = 0.2,
) -> ScaledSchools:
    """Bring the conditions of schools to one scale.

    Parameters
    ----------
    schools : DataFrame
        One row per school, or per school and ``year``.
    conditions : Conditions
        What schools are compared by.
    year : int, optional
        Which year; the latest of the table by default.
    scaling : Scaling, optional
        ``.scaling`` of an earlier year: means, SDs, shrinkage and levels are not learnt again.
    strata : sequence of str
        Columns that part the schools before anything is grouped (stage, settlement).
    max_missing : float
        Share of schools that may lack a variable.

    Returns
    -------
    ScaledSchools

    Raises
    ------
    DataError
        For a constant or empty column, too many missing values, a share outside 0..1, a
        composition that does not sum to 1, a level of one school, a school twice, an unknown year.
    SpecificationError
        If ``scaling`` belongs to other conditions, or a stratum is a condition as well.

    Warns
    -----
    WeakDataWarning
        If two variables correlate above 0.9.

    References
    ----------
    HennigLiao2013; Kleinman1973; MartinFernandez2003; EgozcueEtAl2003.
    """
    check_instance(
        conditions,
        Conditions,
        argument="conditions",
        example="rs.Conditions(shares=['low_income'])",
    )
    check_fraction(max_missing, argument="max_missing")
    if scaling is not None:
        check_instance(scaling, Scaling, argument="scaling", example="scaling=scaled.scaling")
    if year is not None:
        check_count(year, argument="year", least=0)
    parted = check_names(strata, argument="strata", example="strata=['is_rural']")
    check_strata(parted, conditions)
    frame, chosen = read_year(schools, conditions, parted, year)
    if scaling is not None and scaling.conditions != conditions:
        raise SpecificationError(text("conditions.other_scaling"))
    natural, bases, scales = [], [], []
    for i, variable in enumerate(conditions.variables):
        base = base_values(frame, conditions.base_of(variable))
        frozen = None if scaling is None else scaling.scales[i]
        values, scale = variable_scale(frame, conditions, variable, base, frozen, max_missing)
        natural.append(values)
        bases.append(base)
        scales.append(scale)
    learnt = scaling or Scaling(
        conditions=conditions, scales=tuple(scales), year=chosen, n_schools=len(frame)
    )
    return _assembled(frame, learnt, natural, bases, parted, chosen)


def _assembled(
    frame: pd.DataFrame,
    scaling: Scaling,
    natural: list[Floats],
    bases: list[Floats],
    strata: tuple[str, ...],
    year: int | None,
) -> ScaledSchools:
    conditions = scaling.conditions
    values = [
        scale.scaled(own, base)
        for scale, own, base in zip(scaling.scales, natural, bases, strict=True)
    ]
    stated = conditions.errors
    errors = [
        error_values(frame, stated[name]) if name in stated else np.zeros(len(frame))
        for name in conditions.variables
    ]
    names = [
        (name, column)
        for name, scale in zip(conditions.variables, scaling.scales, strict=True)
        for column in conditions.compositions.get(
            name, scale.names if isinstance(scale, LevelScale) else (name,)
        )
    ]
    carried = ["school_id", *(c for c in (*CARRIED, *strata) if c in frame.columns)]
    result = ScaledSchools(
        schools=frame[list(dict.fromkeys(carried))].copy(),
        values=np.concatenate(values, axis=1),
        natural=pd.DataFrame(np.concatenate(natural, axis=1), columns=[c for _, c in names]),
        natural_blocks=tuple(name for name, _ in names),
        bases=np.column_stack(bases),
        errors=np.column_stack(errors),
        stratum=strata_of(frame, strata),
        strata=strata,
        scaling=scaling,
        year=year,
        warnings=(),
    )
    return replace(result, warnings=_warned(result))


def _warned(scaled: ScaledSchools) -> tuple[Bilingual, ...]:
    """Return, and warn of, what makes any grouping of these variables doubtful."""
    found: list[Bilingual] = []
    table, blocks = scaled.correlation.to_numpy(), scaled.blocks
    said: set[tuple[str, str]] = set()
    several = int(scaled.complete.sum()) >= _FEW  # two schools correlate by themselves
    for i, one in enumerate(blocks):
        for j in range(i):
            pair = (blocks[j], one)
            copied = several and one != blocks[j] and abs(table[i, j]) > _COPIES
            if copied and pair not in said:
                said.add(pair)
                found.append(
                    text("conditions.copies", one=pair[0], other=one, value=f"{table[i, j]:.2f}")
                )
    placed = int((~scaled.complete).sum())
    if placed:
        first = scaled.schools.loc[~scaled.complete, "school_id"].astype(str)
        found.append(text("conditions.placed", n=placed, schools=shorten(first)))
    for message in found:
        warn_weak_data(message)
    return tuple(found)
