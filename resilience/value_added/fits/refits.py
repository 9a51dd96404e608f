"""What the results of value added let one do without the pupils: simulate and fit anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Self

import numpy as np
import pandas as pd

from resilience.errors import DataError, SpecificationError, warn_weak_data
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.engine.likelihood_intervals import profile_intervals
from resilience.stats.refits.natural_criteria import natural_criterion
from resilience.stats.refits.refits import cluster_refits, components, parametric_refits
from resilience.stats.refits.simulated_products import outcome_draws
from resilience.stats.strata.strata_fit import StrataFit
from resilience.validation import check_choice, check_count, check_fraction, check_jobs, shorten
from resilience.value_added.effects.bootstrap import (
    BootstrapKind,
    BootstrapResults,
    bootstrap_results,
    part_of_name,
)
from resilience.value_added.effects.influence import (
    InfluenceResults,
    influence_results,
    positions_of,
)
from resilience.value_added.effects.subjects import subject_terms
from resilience.value_added.fits.fitted import PupilFit
from resilience.value_added.fits.leaving_out import refitted

__all__ = ["RefitMethods"]

_FEWEST = 20  # replicates: with fewer the tails of an interval are one or two draws


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RefitMethods(PupilFit):
    """Methods of results that hold their cross-products: none of them needs the pupils again."""

    def simulate(self, n: int = 1, *, random_state: int = 0) -> list[CrossProducts]:
        """Draw new outcomes from the fitted model.

        Parameters
        ----------
        n : int
            Number of draws.
        random_state : int
            Seed.

        Returns
        -------
        list of CrossProducts
            The same rows, groups and covariates with a new outcome each, exactly distributed as
            the cross-products of pupils drawn from the model would be; `refit` fits them.

        Raises
        ------
        SpecificationError
            If ``n`` is below 1, or units do not nest or subjects have residuals of their own.
        """
        check_count(n, argument="n")
        check_count(random_state, argument="random_state", least=0)
        draws = outcome_draws(nested_products(self), self.mixed)
        seeds = np.random.SeedSequence(random_state).spawn(n)
        return [draws.draw(np.random.default_rng(seed)) for seed in seeds]

    def refit(self, products: CrossProducts) -> Self:
        """Fit the same model to other cross-products of its columns: to a draw of `simulate`.

        Parameters
        ----------
        products : CrossProducts
            One of the list that `simulate` returns, or another with the fit's columns and levels
            (``results.cross`` with other rows).

        Returns
        -------
        ValueAddedResults
            With all tables: estimates of drawn schools can be held against the truth of the draw.

        Raises
        ------
        SpecificationError
            If the object is no cross-products, has other columns or levels than the fit, or the
            fit has drift, subjects with residuals of their own, or units that do not nest.

        Warns
        -----
        WeakDataWarning
            As `ValueAddedModel.fit`.
        """
        own = nested_products(self)
        given: object = products
        if not isinstance(given, CrossProducts):
            raise SpecificationError(text("refits.not_products", kind=type(given).__name__))
        if _described(products) != _described(own):
            raise SpecificationError(
                text("refits.other_products", made=_described(products), asked=_described(own))
            )
        if any(0 not in level.columns for level in own.levels):
            raise SpecificationError(text("refits.drift_draw"))
        return refitted(self, products)

    def bootstrap(
        self,
        n_replicates: int = 500,
        *,
        kind: BootstrapKind = "parametric",
        level: float = 0.95,
        n_jobs: int = 1,
        random_state: int = 0,
        progress: bool = False,
    ) -> BootstrapResults:
        """Refit the model to data drawn again, all from cross-products.

        Parameters
        ----------
        n_replicates : int
            Number of refits, at least 20; 500 and more for the ends of a 95 % interval.
        kind : {"parametric", "cluster"}
            Draw outcomes from the fitted model, or draw units of the outermost level with
            replacement (for which the model must have kept their own cross-products).  The latter
            does not lean on normality; it needs some thirty units.
        level : float
            Coverage of the intervals.
        n_jobs : int
            Processes, or workers of the joblib backend that the caller chose; the replicates have
            seeds of their own and are the same for every number, up to rounding.
        random_state : int
            Seed.
        progress : bool
            Whether to show a bar.

        Returns
        -------
        BootstrapResults

        Raises
        ------
        SpecificationError
            For fewer than 20 replicates, a fit without nested levels, or a cluster bootstrap
            without the units' own cross-products.

        References
        ----------
        DavisonHinkley1997.
        """
        check_choice(kind, ("parametric", "cluster"), argument="kind")
        return _bootstrap(self, n_replicates, kind, level, (n_jobs, random_state, progress))

    def variance_intervals(
        self,
        *,
        method: Literal["profile", "bootstrap"] = "profile",
        level: float = 0.95,
        n_replicates: int = 500,
        n_jobs: int = 1,
        random_state: int = 0,
    ) -> pd.DataFrame:
        """Return the intervals of standard deviations and correlations.

        Parameters
        ----------
        method : {"profile", "bootstrap"}
            Profile likelihood (restricted, where the fit is), for every structure; or the
            parametric bootstrap, for nested levels.
        level : float
            Coverage.
        n_replicates, n_jobs, random_state
            Of the bootstrap.

        Returns
        -------
        DataFrame
            ``group term component estimate conf_low conf_high interval_method``; a standard
            deviation that may be zero has the lower end 0.

        Warns
        -----
        WeakDataWarning
            If the profile of a parameter could not be followed to a limit, which is then missing.

        References
        ----------
        VenzonMoolgavkar1988; DavisonHinkley1997.
        """
        check_choice(method, ("profile", "bootstrap"), argument="method")
        check_fraction(level, argument="level", closed=False)
        if method == "bootstrap":
            found = _bootstrap(
                self, n_replicates, "parametric", level, (n_jobs, random_state, False)
            ).table
            found = found[found["component"] != "coefficient"]
            kept = ["group", "term", "component", "estimate", "conf_low", "conf_high"]
            table = found[kept].assign(interval_method=method).reset_index(drop=True)
            return _with_terms(table, self.variance_components)
        found_limits = profile_intervals(natural_criterion(self.cross, self.mixed), level=level)
        named = _subject_parts(self)
        parts = [named.get((one.group, one.name), part_of_name(one.name)) for one in found_limits]
        rows = [
            (one.group, *part, one.estimate, one.low, one.high, method)
            for one, part in zip(found_limits, parts, strict=True)
        ]
        lost = [
            f"{one.group} {component}" + (f"[{term}]" if term else "")
            for one, (term, component) in zip(found_limits, parts, strict=True)
            if np.isnan(one.low + one.high) and not np.isnan(one.estimate)
        ]
        if lost:
            words = text("refits.lost_limits", parameters="; ".join(lost))
            warn_weak_data(words)
        names = ["group", "term", "component", "estimate", "conf_low", "conf_high"]
        table = pd.DataFrame(rows, columns=[*names, "interval_method"])
        return _with_terms(table, self.variance_components)

    def influence(self, units: Sequence[object] | None = None) -> InfluenceResults:
        """Leave schools out one at a time and say what each of them moves.

        Parameters
        ----------
        units : sequence, optional
            Schools to leave out; by default every one of up to 2,000.

        Returns
        -------
        InfluenceResults

        Raises
        ------
        DataError
            For unknown schools (named), or fewer than two that stay.
        SpecificationError
            For a fit without nested levels or without the schools' own cross-products.
        """
        return influence_results(nested_products(self), self.mixed, self.group, units)

    def leave_out(self, *, units: Sequence[object] | None = None, year: object = None) -> Self:
        """Fit the model again without some schools, or without a year.

        School compositions and standardised scores stay what they were with all rows.

        Parameters
        ----------
        units : sequence, optional
            Schools to leave out.
        year : object, optional
            Year to leave out, a value of the year column.

        Returns
        -------
        ValueAddedResults

        Raises
        ------
        DataError
            For unknown schools or an unknown year (named), or if fewer than two units of a level
            would stay.
        SpecificationError
            Unless exactly one of both is given; for a fit without nested levels, without years,
            or without the groups' own cross-products.
        """
        if (units is None) == (year is None):
            raise SpecificationError(text("refits.units_or_year"))
        cross = nested_products(self)
        if units is not None and any(0 not in level.columns for level in cross.levels):
            raise SpecificationError(text("refits.drift"))
        rest = (
            _without_year(self, cross, year)
            if units is None
            else _without_units(cross, self.group, units)
        )
        for name, n in rest.n_groups.items():
            if n < 2:
                raise DataError(text("refits.too_few_left", group=repr(name), left=n))
        # imported here: the file that builds results stands above this one
        return refitted(self, rest)


def _subject_parts(results: PupilFit) -> dict[tuple[str, str], tuple[str, str]]:
    """Return term and component of the parameters of several subjects, whatever their names hold.

    Residuals bear the names of the table of variances: ``subject=МА``, not the subject alone.
    """
    fit = results.mixed
    if not isinstance(fit, StrataFit):
        return {}
    terms = subject_terms(fit)
    found = {
        ("residual", f"std_dev[{subject}]"): (term, "std_dev")
        for subject, term in zip(fit.subjects, terms, strict=True)
    }
    ties = [("residual", [*zip(fit.subjects, terms, strict=True)])]
    ties += [(level.name, [(term, term) for term in level.terms]) for level in fit.levels]
    for group, named in ties:
        for (one, first), (other, second) in combinations(named, 2):
            name = f"correlation[{one}, {other}]"
            found[group, name] = (f"{first} × {second}", "correlation")
    return found


def _described(products: CrossProducts) -> str:
    """Return the columns and levels of cross-products in words."""
    levels = "; ".join(f"{v.name} ({v.n_groups})" for v in products.levels)
    return f"{', '.join(products.columns)} | {levels}"


def _with_terms(table: pd.DataFrame, parts: pd.DataFrame) -> pd.DataFrame:
    """Return intervals whose rows of a whole level name its one term, as AR(1) years do."""
    alone = parts[~parts["group"].duplicated(keep=False)].set_index("group")["term"]
    blank = table["term"].eq("") & table["group"].isin(alone.index)
    return table.assign(term=table["term"].mask(blank, table["group"].map(alone)))


def nested_products(results: PupilFit) -> CrossProducts:
    """Return the cross-products of nested levels or refuse with the reason."""
    if isinstance(results.mixed, StrataFit):
        raise SpecificationError(text("refits.several_subjects"))
    if not isinstance(results.cross, CrossProducts):
        raise SpecificationError(text("refits.not_nested"))
    return results.cross


def _bootstrap(
    results: PupilFit,
    n_replicates: int,
    kind: BootstrapKind,
    level: float,
    how: tuple[int, int, bool],
) -> BootstrapResults:
    check_fraction(level, argument="level", closed=False)
    n_jobs, random_state, progress = how
    check_jobs(n_jobs)
    check_count(random_state, argument="random_state", least=0)
    if check_count(n_replicates, argument="n_replicates") < _FEWEST:
        raise SpecificationError(text("refits.few_replicates", n=n_replicates, fewest=_FEWEST))
    cross, fitted = nested_products(results), results.mixed
    unit = None
    if kind == "parametric":
        refits = parametric_refits(
            cross,
            fitted,
            n_replicates=n_replicates,
            n_jobs=n_jobs,
            random_state=random_state,
            progress=progress,
        )
    else:
        unit = cross.levels[0].name
        refits = cluster_refits(
            cross,
            fitted,
            level=unit,
            n_replicates=n_replicates,
            n_jobs=n_jobs,
            random_state=random_state,
            progress=progress,
        )
    own = [value for v in fitted.levels for value in v.parameters.values()]
    return bootstrap_results(
        refits,
        terms=fitted.terms,
        components=components(fitted),
        estimates=np.array([*fitted.beta, *own, np.sqrt(fitted.residual_variance)]),
        resampling=kind,
        unit=unit,
        level=level,
    )


def _without_units(cross: CrossProducts, group: str, units: Sequence[object]) -> CrossProducts:
    level = next(v for v in cross.levels if v.name == group)
    stay = np.ones(level.n_groups, dtype=bool)
    stay[positions_of(units, level.labels, group)] = False
    if stay.sum() < 2:
        raise DataError(text("refits.too_few_left", group=repr(group), left=int(stay.sum())))
    return cross.subset_groups(group, mask=stay)


def _without_year(results: PupilFit, cross: CrossProducts, year: object) -> CrossProducts:
    if results.time is None:
        raise SpecificationError(text("refits.no_years", year=year))
    name = f"{results.group}:{results.time}"
    cells = [v for v in cross.levels if v.name == name and v.columns == (0,)]
    if not cells:
        raise SpecificationError(text("refits.years_not_groups", year=year))
    labels = cells[0].labels
    known = sorted(set(labels))
    if year not in known:
        raise DataError(text("refits.unknown_year", year=year, known=shorten(known, 12)))
    stay = np.array([label != year for label in labels])
    if not stay.any():
        raise DataError(text("refits.too_few_left", group=repr(results.group), left=0))
    return cross.subset_groups(name, mask=stay)
