"""Cohort priors: the joint model against the one that ignores the shared pupils.

    python tests/benchmarks/cohort_priors.py              # 200 regions per row, two minutes
    python tests/benchmarks/cohort_priors.py --regions 40

Each region has 200 schools of 3 to 80 pupils (log-uniform: most are small), one cohort each, prior
and outcome means of the same pupils, SD of pupils 1 on both, correlation rho within schools, and
latent prior means of variance .10.  ``joint`` is `SchoolLevelModel` with ``cohort_prior``;
``naive`` puts the observed prior mean into the formula and takes the sampling variance to be 1/n.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd

import resilience as rs

Z90 = 1.6448536269514722
SIZES = {"3-10": (3, 10), "11-30": (11, 30), "31-80": (31, 80)}


def region(
    seed: int, *, tau2: float, rho: float, slope: float, n_schools: int = 200
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return means of a region with known value-added effects."""
    rng = np.random.default_rng(seed)
    n = np.round(np.exp(rng.uniform(np.log(2.5), np.log(80.5), size=n_schools))).clip(3, 80)
    latent = np.sqrt(0.1) * rng.normal(size=n_schools)
    effect = np.sqrt(tau2) * rng.normal(size=n_schools)
    first, second = rng.normal(size=(2, n_schools))
    noise = rho * first + np.sqrt(1.0 - rho**2) * second
    table = pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in range(n_schools)],
            "n_pupils": n,
            "variance": 1.0 / n,
            "prior_mean": latent + first / np.sqrt(n),
            "mean_score": slope * latent + effect + noise / np.sqrt(n),
        }
    )
    return table, effect


def joint_model(rho: float) -> rs.SchoolLevelModel:
    """Return the model that knows of the shared pupils."""
    return rs.SchoolLevelModel(
        "mean_score ~ 1",
        n="n_pupils",
        sd=1.0,
        cohort_prior="prior_mean",
        within_correlation=rho,
    )


def naive_model() -> rs.SchoolLevelModel:
    """Return the model that does not."""
    return rs.SchoolLevelModel("mean_score ~ prior_mean", variance="variance")


def study(regions: int, *, tau2: float, rho: float, slope: float) -> dict[str, pd.DataFrame]:
    """Return, per model, one row per region: variance found, coverage of 90 % intervals."""
    models = {"joint": joint_model(rho), "naive": naive_model()}
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for seed in range(regions):
        table, effect = region(seed, tau2=tau2, rho=rho, slope=slope)
        for name, model in models.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rs.WeakDataWarning)  # a variance of zero counts too
                result = model.fit(table)
            found = result.school_effects
            inside = (found["effect"] - effect).abs() <= Z90 * found["std_error"]
            row = {"tau2": result.variances["persistent"], "all": float(inside.mean())}
            for label, (low, high) in SIZES.items():
                row[label] = float(inside[table["n_pupils"].between(low, high)].mean())
            rows[name].append(row)
    return {name: pd.DataFrame(found) for name, found in rows.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, default=200)
    regions = parser.parse_args().regions
    print(f"{regions} regions per row; coverage of 90 % intervals by pupils tested")
    print(
        "  tau2   rho  slope model    tau2 found (MC error)   coverage  "
        + "  ".join(f"{label:>5}" for label in SIZES)
    )
    for rho, slope in ((0.8, 0.8), (0.7, 0.7), (0.7, 1.0)):
        for tau2 in (0.09, 0.04):
            for name, found in study(regions, tau2=tau2, rho=rho, slope=slope).items():
                error = found["tau2"].std(ddof=1) / np.sqrt(regions)
                by_size = "  ".join(f"{found[label].mean():5.3f}" for label in SIZES)
                print(
                    f"{tau2:6.2f} {rho:5.2f} {slope:6.2f} {name:6s}"
                    f" {found['tau2'].mean():10.5f} ({error:.5f})"
                    f" {found['all'].mean():14.4f}    {by_size}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
