"""Growth percentiles of simulated pupils whose true percentiles are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from resilience.value_added.growth.model import GrowthPercentiles

BANDS = {"2-5": (2, 5), "6-15": (6, 15), "16-30": (16, 30), ">30": (31, 90)}


def region(seed: int, reliability: float = 1.0) -> pd.DataFrame:
    """Return pupils of 400 schools of 2 to 90; intake and effects of schools are independent."""
    rng = np.random.default_rng(seed)
    sizes = np.concatenate([rng.integers(low, high + 1, 100) for low, high in BANDS.values()])
    school = np.repeat(np.arange(len(sizes)), sizes)
    n = len(school)
    intake = 0.6 * rng.normal(size=len(sizes))
    effect = 0.3 * rng.normal(size=len(sizes))
    true_prior = intake[school] + 0.8 * rng.normal(size=n)
    noise = np.sqrt(true_prior.var() * (1 / reliability - 1))
    spread = 0.5 * (1 + 0.3 * norm.cdf(true_prior))
    growth = effect[school] + spread * rng.normal(size=n)
    frame = pd.DataFrame({"school_id": [f"S{k:03d}" for k in school]})
    frame["before"] = true_prior + noise * rng.normal(size=n)
    frame["score"] = 0.7 * true_prior + growth
    # of all pupils with this true past: effects are normal too
    frame["true_percentile"] = 100 * norm.cdf(growth / np.sqrt(0.3**2 + spread**2))
    frame["intake"] = intake[school]
    # the median of the school's pupils: its effect, at the typical spread of its intake
    frame["size"] = sizes[school]
    frame["effect"] = effect[school]
    frame["spread"] = spread
    return frame


def test_pupils_are_placed_where_they_truly_stand():
    pupils = region(1)
    placed = GrowthPercentiles(prior="before").fit(pupils, n_bootstrap=20).percentiles(pupils)
    apart = placed["growth_percentile"] - pupils["true_percentile"]
    # curves of 10,000 pupils with 8 columns: an error of about √(8 · .25 / 10⁴) of the scale
    assert abs(apart.mean()) < 1.5
    assert np.sqrt((apart**2).mean()) < 3.0
    assert np.corrcoef(placed["growth_percentile"], pupils["true_percentile"])[0, 1] > 0.995


def test_intervals_of_school_medians_cover_in_every_size_band():
    inside = {band: [] for band in BANDS}
    for seed in range(4):
        pupils = region(10 + seed)
        results = GrowthPercentiles(prior="before").fit(pupils, n_bootstrap=20)
        table = results.school_growth.set_index("school_id")
        own = pupils.groupby("school_id")
        # the true median of the distribution that the school's pupils are drawn from
        truth = own.apply(
            lambda f: 100 * np.median(norm.cdf(f["effect"] / np.sqrt(0.3**2 + f["spread"] ** 2))),
            include_groups=False,
        )
        covered = table["median_growth_low"].le(truth) & table["median_growth_high"].ge(truth)
        sizes = own["size"].first()
        for band, (low, high) in BANDS.items():
            inside[band].append(covered[sizes.between(low, high)].mean())
    for band, found in inside.items():
        # order statistics cover at least .95; three standard errors of 400 schools are .033
        assert np.mean(found) > 0.95 - 0.033, band


def test_simex_takes_most_of_the_intake_out_of_the_schools_medians():
    naive, corrected = [], []
    for seed in (30,):
        pupils = region(seed, reliability=0.75).query("size > 15")
        intake = pupils.groupby("school_id")["intake"].first()
        for reliability, found in ((None, naive), (0.75, corrected)):
            model = GrowthPercentiles(prior="before", reliability=reliability)
            table = model.fit(pupils, n_bootstrap=20).school_growth.set_index("school_id")
            slope = np.polyfit(intake, table["median_growth"], 1)[0]
            found.append(slope)
    # effects are independent of intake: the slope should be 0; noise makes it about + 8 points
    assert np.mean(naive) > 5
    assert abs(np.mean(corrected)) < 0.4 * np.mean(naive)
