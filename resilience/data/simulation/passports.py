"""Social passports: yearly counts of family circumstances as a noisy reflection of true context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from resilience.data.simulation.network import Schools
from resilience.data.simulation.parameters import OUR_CHOICE
from resilience.data.simulation.streams import Streams
from resilience.errors import SpecificationError
from resilience.i18n import text

__all__ = ["Indicator", "SocialPassport", "passport_shares"]

SHARE_DIGITS = 4
SMALLEST_SHARE = 0.0001


@dataclass(frozen=True, kw_only=True)
class Indicator:
    """One line of the passport.

    Attributes
    ----------
    name : str
        Column of the table `schools`.
    share : float
        Share of pupils in a school of average context.
    loading : float
        Change of its logit per SD of context between schools; above 0 where the line is favourable.
    source : str
        Key of the bibliography or ``"our choice"``.
    """

    name: str
    share: float
    loading: float
    source: str = OUR_CHOICE

    def __post_init__(self) -> None:
        if not SMALLEST_SHARE <= self.share <= 1 - SMALLEST_SHARE:
            raise SpecificationError(
                text(
                    "simulation.range",
                    parameter=f"Indicator({self.name!r}).share",
                    value=self.share,
                    kind=text("simulation.number"),
                    low=SMALLEST_SHARE,
                    high=1 - SMALLEST_SHARE,
                )
            )


DEFAULT_INDICATORS = (
    Indicator(name="both_parents_higher_edu", share=0.22, loading=0.80),
    Indicator(name="single_parent", share=0.26, loading=-0.20, source="HSECapital"),
    Indicator(name="unemployed_parent", share=0.09, loading=-0.60),
    Indicator(name="low_income", share=0.25, loading=-0.60),
    Indicator(name="large_family", share=0.22, loading=-0.35),
    Indicator(name="non_native_russian", share=0.15, loading=-0.45),
    Indicator(name="on_register", share=0.02, loading=-0.50),
    Indicator(name="guardianship_orphans", share=0.02, loading=-0.35),
    Indicator(name="disability_ovz", share=0.07, loading=-0.15),
    Indicator(name="weak_motivation", share=0.06, loading=-0.50),
)


@dataclass(frozen=True, kw_only=True)
class SocialPassport:
    """How the passports reflect the true context.

    Attributes
    ----------
    indicators : tuple of Indicator
        Lines of the passport with their usual shares.
    reporting_sd : float
        SD between schools of a lasting deviation of one line, on the logit scale: the school's own
        way of counting.
    yearly_sd : float
        SD of a further deviation of one line in one year.
    """

    indicators: tuple[Indicator, ...] = field(
        default=DEFAULT_INDICATORS, metadata={"source": OUR_CHOICE}
    )
    reporting_sd: float = field(default=0.40, metadata={"source": OUR_CHOICE})
    yearly_sd: float = field(default=0.10, metadata={"source": OUR_CHOICE})

    def __post_init__(self) -> None:
        for name in ("reporting_sd", "yearly_sd"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 5:
                raise SpecificationError(
                    text(
                        "simulation.range",
                        parameter=f"SocialPassport.{name}",
                        value=repr(value),
                        kind=text("simulation.number"),
                        low="0",
                        high="5",
                    )
                )
        names = [indicator.name for indicator in self.indicators]
        known = [indicator.name for indicator in DEFAULT_INDICATORS]
        wrong = [n for n in names if n not in known or names.count(n) > 1]
        if wrong:
            raise SpecificationError(
                text("simulation.indicator", names=", ".join(wrong), known=", ".join(known))
            )


def passport_shares(
    passport: SocialPassport, schools: Schools, streams: Streams, years: Sequence[int]
) -> pd.DataFrame:
    """Return shares of pupils by school and year, one column per indicator.

    Each share is a binomial count over the roll of the school, divided by the roll.

    Parameters
    ----------
    passport : SocialPassport
        Lines and noise.
    schools : Schools
        True context and roll.
    streams : Streams
        Stream ``passports``.
    years : sequence of int
        School years.

    Returns
    -------
    DataFrame
        Rows by year, then school; shares in [0, 1] with four decimals.
    """
    deviation = schools.context / np.sqrt(np.mean(schools.context**2))
    columns: dict[str, list[float]] = {}
    # A line draws at its place in the full list: leaving one out does not change the others.
    place = {indicator.name: k for k, indicator in enumerate(DEFAULT_INDICATORS)}
    rolls = {year: schools.roll(streams, year) for year in years}
    for indicator in passport.indicators:
        address = place[indicator.name]
        own = passport.reporting_sd * streams.generator("passports", address).standard_normal(
            schools.n_schools
        )
        usual = logit(indicator.share) + indicator.loading * deviation + own
        shares: list[float] = []
        for year in years:
            generator = streams.generator("passports", address, year)
            slip = passport.yearly_sd * generator.standard_normal(schools.n_schools)
            counted = generator.binomial(rolls[year], expit(usual + slip))
            shares.extend(np.round(counted / rolls[year], SHARE_DIGITS))
        columns[indicator.name] = shares
    return pd.DataFrame(columns)
