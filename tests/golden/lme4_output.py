"""Full-precision lme4 output that is kept in ``lme4/`` with the R scripts and versions behind it.

The scripts search with bobyqa down to a trust region of 1e-12 from two starts and end with Newton
steps, because default lme4 stops some 1e-5 relative away in a standard deviation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

# Method specification, section 6.  The criterion is flat at its optimum, so two searches agree in
# it far better than in a standard deviation; 1e-9 is what double precision leaves of a deviance.
RELATIVE = 1e-6
CRITERION = 1e-9


def lme4_numbers(file: str, model: str) -> dict[tuple[str, str, str], float]:
    """Return the printed numbers of one model by (quantity, group, term)."""
    table = pd.read_csv(
        Path(__file__).parent / "lme4" / f"{file}.csv",
        keep_default_na=False,
        dtype={"value": float},
    )
    rows = table[table["model"] == model]
    assert len(rows), (file, model)
    keys = zip(rows["quantity"], rows["group"], rows["term"], strict=True)
    return dict(zip(keys, rows["value"], strict=True))


def assert_equals_lme4(result, file, model, *, terms=None, groups=None):
    """Compare every number that the file keeps of a model.

    Parameters
    ----------
    result : ValueAddedResults
    file, model : str
        Which output.
    terms : dict of {R's label: ours}
        Terms that R labels otherwise; `(Intercept)` is known.
    groups : dict of {R's name: ours}
        Levels under another name.
    """
    terms = {"(Intercept)": "Intercept", **(terms or {})}
    groups = groups or {}
    numbers = lme4_numbers(file, model)
    fixed = result.fixed_effects.set_index("term")
    spread = result.variance_components.set_index(["group", "term"])
    levels = {level.name: level for level in result.mixed.levels}
    for (quantity, group, term), value in numbers.items():
        ours, label = groups.get(group, group), terms.get(term, term)
        close = pytest.approx(value, rel=RELATIVE)
        if quantity in ("criterion", "deviance"):
            assert (quantity == "criterion") == (result.method == "reml")
            assert result.criterion == pytest.approx(value, rel=CRITERION)
        elif quantity == "n_rows":
            assert result.mixed.n_rows == value
        elif quantity == "singular":
            assert result.convergence.singular == bool(value)
        elif quantity == "estimate":
            # relative to its standard error where an estimate is near zero
            slack = RELATIVE * fixed.loc[label, "std_error"]
            assert fixed.loc[label, "estimate"] == pytest.approx(value, rel=RELATIVE, abs=slack)
        elif quantity == "std_error":
            assert fixed.loc[label, "std_error"] == close, label
        elif quantity in ("std_dev", "correlation"):
            assert spread.loc[(ours, label), quantity] == close, (ours, label, quantity)
        else:
            unit, _, name = term.partition("|")
            level = levels[ours]
            at = [str(v) for v in level.labels].index(unit)
            k = level.terms.index(terms.get(name, name))
            size = RELATIVE * np.sqrt(level.covariance[k, k])
            seen = (
                level.modes[at, k] if quantity == "effect" else np.sqrt(level.conditional[at, k, k])
            )
            assert seen == pytest.approx(value, rel=RELATIVE, abs=size), (term, quantity)
