"""What the simulator knows and an authority does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtri

from resilience.data.simulation.parameters import OUR_CHOICE
from resilience.data.simulation.procedures import SUBJECTS, Procedure
from resilience.data.simulation.pupils import Population

__all__ = ["long_run_shares", "true_parameters", "true_school_years", "true_schools"]

Floats = npt.NDArray[np.float64]

# Definitions of the truth (issue's and rule's numbers, not parameters of the simulation).
LOW_SHARE = 0.30
LOW_PROCEDURES = 2
ADVERSE_QUANTILE = 0.25
RESILIENT_QUANTILE = 0.75
DIGITS = 6


def long_run_shares(population: Population, procedures: Sequence[Procedure]) -> pd.DataFrame:
    """Return each school's true long-run share below the minimum in each procedure.

    The share an endless row of cohorts would show: lasting effects and context as they are,
    everything transient averaged out, marks honest.

    Returns
    -------
    DataFrame
        ``school_id``, ``procedure``, ``true_share_below``; one row per school and procedure.
    """
    p = population
    context = (p.intake.ses_slope + p.intake.composition) * p.schools.context
    spread = np.sqrt(
        p.intake.ses_slope**2 * (1 - p.intake.ses_icc)
        + p.effects.parameters.transient_sd**2
        + p.effects.parameters.procedure_sd**2
        + p.variances.pupil
    )
    frames = []
    for procedure in procedures:
        subject = SUBJECTS.index(procedure.subject)
        mean = context + p.effects.lasting(procedure.grade)[:, subject]
        frames.append(
            pd.DataFrame(
                {
                    "school_id": p.schools.school_id,
                    "procedure": procedure.name,
                    "true_share_below": procedure.share_below(mean, float(spread)),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def true_schools(population: Population, procedures: Sequence[Procedure]) -> pd.DataFrame:
    """Return the truth about schools.

    A school is truly *low* if its long-run share below the minimum is at least .30 in at least two
    procedures, that is if the second largest of its shares is.  It is truly *resilient* if its true
    index lies at or below the .25 quantile of the schools and its persistent effect above
    Φ⁻¹(.75)σ_u.

    Returns
    -------
    DataFrame
        ``school_id``, ``persistent_effect``, ``true_index`` (50 + 10z over schools),
        ``true_share_below`` (second largest), ``true_low``, ``true_resilient``, ``inflated``.
    """
    shares = long_run_shares(population, procedures)["true_share_below"].to_numpy()
    by_school = np.sort(shares.reshape(len(procedures), -1), axis=0)
    deciding = by_school[-min(LOW_PROCEDURES, len(procedures))]
    context = population.schools.context
    index = 50 + 10 * (context - context.mean()) / context.std()
    persistent = population.effects.persistent
    bound = ndtri(RESILIENT_QUANTILE) * population.effects.parameters.persistent_sd
    adverse = context <= np.quantile(context, ADVERSE_QUANTILE)
    return pd.DataFrame(
        {
            "school_id": population.schools.school_id,
            "persistent_effect": persistent,
            "true_index": np.round(index, DIGITS),
            "true_share_below": np.round(deciding, DIGITS),
            "true_low": deciding >= LOW_SHARE,
            "true_resilient": adverse & (persistent > bound),
            "inflated": population.inflated,
        }
    )


def true_school_years(population: Population, years: Sequence[int]) -> pd.DataFrame:
    """Return ``school_id``, ``year``, ``transient_effect`` for each school and year."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "school_id": population.schools.school_id,
                    "year": year,
                    "transient_effect": population.effects.transient(year),
                }
            )
            for year in years
        ],
        ignore_index=True,
    )


def true_parameters(*groups: object) -> pd.DataFrame:
    """Return every parameter with its value and the source of its default.

    Parameters
    ----------
    *groups : dataclass instances
        The parameters of the simulation.

    Returns
    -------
    DataFrame
        ``parameter``, ``parameter_value`` (text), ``parameter_source``.
    """
    rows = [row for group in groups for row in _flat(type(group).__name__, group)]
    return pd.DataFrame(rows, columns=["parameter", "parameter_value", "parameter_source"])


def _flat(prefix: str, group: object) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    if not is_dataclass(group):
        return rows
    for entry in fields(group):
        name, value = f"{prefix}.{entry.name}", getattr(group, entry.name)
        source = str(entry.metadata.get("source", OUR_CHOICE))
        if isinstance(value, tuple) and value and is_dataclass(value[0]):
            for item in value:
                own = str(getattr(item, "source", source))
                for part in ("share", "loading"):
                    words = f"{name}.{item.name}.{part}"
                    rows.append((words, _words(getattr(item, part)), own))
        else:
            rows.append((name, _words(value), source))
    return rows


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(str(v) for v in value)
    return str(value)
