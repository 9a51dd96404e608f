"""Products for a fit that keep the units' own cross-products where these are surely small.

A pass over chunks learns the number of units as it goes, so that the rule for tables in memory
(keep what takes at most 64 MB) cannot be applied before it.  There are never more units than rows,
and of files and frames in memory the rows are known: where blocks of so many units would be small,
they are kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from resilience.data.batches.opening import open_source
from resilience.stats.products.product_levels import SMALL
from resilience.value_added.intake.pupil_products import PupilProducts
from resilience.value_added.intake.sources import cross_products, learn_pupils

if TYPE_CHECKING:
    from resilience.data.design_recipe import Recipe
    from resilience.value_added.definitions.definition import ModelDefinition

__all__ = ["products_for_fit"]


def products_for_fit(model: ModelDefinition, source: object) -> PupilProducts:
    """Read a source into the cross-products of a model, with blocks of units where small.

    Parameters
    ----------
    model : ModelDefinition
        With nested levels.
    source : frame, path, iterable of chunks, callable, Dask frame or Batches
        As for `cross_products`.

    Returns
    -------
    PupilProducts
        With blocks of the innermost level if the rows of the source are known beforehand and
        blocks of as many units would take at most 64 MB: some 800,000 rows of 2 covariates,
        50,000 of 15.
    """
    batches = open_source(source)
    recipe = learn_pupils(model, batches)
    n_rows = getattr(batches, "n_rows", None)
    if isinstance(n_rows, int) and n_rows * _bytes_each(recipe) <= SMALL:
        recipe = replace(recipe, step=replace(recipe.step, keep="groups"))
    return cross_products(model, batches, recipe=recipe)


def _bytes_each(recipe: Recipe) -> int:
    """Return what the block of one unit takes: half a symmetric matrix of doubles."""
    width = len(recipe.step.names) + 1
    return 4 * width * (width + 1)
