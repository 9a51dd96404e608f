"""What the results of value added let one do without the pupils: simulate and fit anew."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from resilience.errors import SpecificationError
from resilience.i18n import text
from resilience.stats.crossproducts import CrossProducts
from resilience.stats.mixed import MixedFit
from resilience.stats.simulated_products import outcome_draws

__all__ = ["Refits"]


class Refittable(Protocol):
    """What results must hold for refits."""

    @property
    def mixed(self) -> MixedFit:
        """The fit in the engine's terms."""

    @property
    def cross(self) -> CrossProducts:
        """What the fit was made of."""


class Refits:
    """Methods of results that hold their cross-products: none of them needs the pupils again."""

    def simulate(self: Refittable, n: int = 1, *, random_state: int = 0) -> list[CrossProducts]:
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
            the cross-products of pupils drawn from the model would be.

        Raises
        ------
        SpecificationError
            If ``n`` is below 1 or the fit has no nested cross-products.
        """
        draws = outcome_draws(checked_products(self.cross), self.mixed)
        if n < 1:
            raise SpecificationError(text("refits.too_few_draws", n=n))
        return [
            draws.draw(np.random.default_rng(seed))
            for seed in np.random.SeedSequence(random_state).spawn(n)
        ]


def checked_products(cross: object) -> CrossProducts:
    """Return the cross-products of nested levels or refuse with the reason."""
    if not isinstance(cross, CrossProducts):
        raise SpecificationError(text("refits.not_nested", kind=type(cross).__name__))
    return cross
