"""Printed figures of the pages on counts of marks and on school means are those of today."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special

from resilience.stats.marks.ordinal_cells import cell_terms, mark_information, shared_covariance
from resilience.value_added import SchoolLevelModel

PAGES = Path(__file__).resolve().parents[2] / "docs" / "methodology"
COUNTS = (PAGES / "counts_of_marks.md").read_text(encoding="utf-8")
MEANS = (PAGES / "school_means.md").read_text(encoding="utf-8")
# Shares of marks as the page names them.
SHARES = {
    "2 at 5 %": (0.05, 0.95),
    "2 at 10 %": (0.10, 0.90),
    "2 at 14 %": (0.14, 0.86),
    "2 at 30 %": (0.30, 0.70),
    "half and half": (0.50, 0.50),
    "2–5 at 5, 40, 35, 20 %": (0.05, 0.40, 0.35, 0.20),
    "2–5 at 14, 36, 36, 14 %": (0.14, 0.36, 0.36, 0.14),
}
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def borders(shares: tuple[float, ...]) -> np.ndarray:
    return special.ndtri(np.cumsum(shares)[:-1])


def table(page: str, head: str, row: str) -> dict[str, str]:
    """Return one row of the table whose first line starts with ``head``, by column."""
    lines = [line.strip() for line in page.splitlines()]
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    names = [c.strip() for c in lines[start].strip("|").split("|")][1:]
    body = itertools.takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    found = {r.strip("|").split("|")[0].strip(): r.strip("|").split("|")[1:] for r in body}
    return dict(zip(names, (c.strip() for c in found[row]), strict=True))


def tables(page: str, head: str) -> list[str]:
    """Return the parts of the page that begin with each table of that head."""
    return [page[m.start() :] for m in re.finditer(rf"^\s*\| {head} \|", page, re.MULTILINE)]


def test_information_of_marks_is_true() -> None:
    part = next(p for p in tables(COUNTS, "marks") if "| $I$ |" in p.split("\n\n")[0])
    printed = table(part, "marks", "$I$")
    assert len(printed) == 6
    for name, value in printed.items():
        assert f"{mark_information(borders(SHARES[name])[None])[0]:.2f}"[1:] == value, name


def covariance_of_cells(shares: tuple[float, ...], r: float) -> float:
    """Covariance of two cells' efficient estimates times N, by quadrature over what is shared."""
    cuts, p = borders(shares), np.array(shares)
    density = np.exp(-0.5 * np.r_[np.inf, cuts, np.inf] ** 2) / np.sqrt(2 * np.pi)
    score = -np.diff(density) / p
    shared = np.sqrt(r) * NODES
    inner = special.ndtr((cuts - shared[:, None]) / np.sqrt(1 - r))
    P = np.diff(np.column_stack([np.zeros(len(shared)), inner, np.ones(len(shared))]), axis=1)
    return float(WEIGHTS @ (P @ score) ** 2 / (p @ score**2) ** 2)


def test_covariance_of_shared_pupils_is_true() -> None:
    printed = table(COUNTS, "marks", "$e$")
    assert len(printed) == 4
    for name, value in printed.items():
        exact_value = covariance_of_cells(SHARES[name], 0.5)
        assert f"{exact_value:.2f}"[1:] == value, name
        own = shared_covariance(borders(SHARES[name])[None], 0.5)[0]
        assert abs(own - exact_value) < 1e-9  # two quadratures of 60 nodes and more


def outcomes(n: int, k: int) -> np.ndarray:
    """All ways in which n pupils get k marks."""
    bars = itertools.combinations(range(n + k - 1), k - 1)
    return np.array([np.diff(np.r_[-1, c, n + k - 1]) - 1 for c in bars], dtype=float)


def laplace(cuts: np.ndarray, counts: np.ndarray, sd: float) -> np.ndarray:
    """Laplace log-likelihood of one cell per school, without the multinomial coefficient."""
    u = np.zeros(len(counts))
    for _ in range(30):
        terms = cell_terms(cuts - sd * u[:, None], counts)
        curve = sd**2 * terms.hessian.sum((1, 2)) + 1
        u = u - (u - sd * terms.gradient.sum(1)) / curve
    terms = cell_terms(cuts - sd * u[:, None], counts)
    curve = sd**2 * terms.hessian.sum((1, 2)) + 1
    return -terms.value - 0.5 * u**2 - 0.5 * np.log(curve)


def exact(cuts: np.ndarray, counts: np.ndarray, sd: float) -> np.ndarray:
    """The same by quadrature."""
    below = special.ndtr(cuts - sd * NODES[:, None])
    P = np.diff(np.column_stack([np.zeros(len(NODES)), below, np.ones(len(NODES))]), axis=1)
    return special.logsumexp(counts @ np.log(np.maximum(P, 1e-300)).T, b=WEIGHTS, axis=1)


@pytest.mark.parametrize(
    ("n", "name"),
    [
        (5, "2 at 5 %"),
        (10, "2 at 5 %"),
        (20, "2 at 5 %"),
        (5, "2 at 14 %"),
        (5, "2–5 at 5, 40, 35, 20 %"),
    ],
)
def test_error_of_laplace_is_true(n: int, name: str) -> None:
    printed = table(COUNTS, "one cell per school", f"{n} pupils, {name}")
    counts = outcomes(n, len(SHARES[name]))
    ways = special.gammaln(n + 1) - special.gammaln(counts + 1).sum(axis=1)
    for true, value in ((0.25, printed["true .25"]), (0.50, printed["true .50"])):
        cuts = borders(SHARES[name]) * np.sqrt(1 + true**2)
        chance = np.exp(exact(cuts, counts, true) + ways)
        assert abs(chance.sum() - 1) < 1e-9  # quadrature of 80 nodes is exact to rounding here
        found = [
            optimize.minimize_scalar(
                lambda sd, f=f, cuts=cuts, chance=chance: -(chance @ f(cuts, counts, sd)),
                bounds=(1e-3, 3),
                method="bounded",
                options={"xatol": 1e-6},
            ).x
            for f in (laplace, exact)
        ]
        assert f"{found[0]:.3f}"[1:] == value
        # the search of a flat top ends within 1e-4
        assert abs(found[1] - true) < 1e-4


def test_memory_is_true() -> None:
    found = re.search(
        r"(\d+) MB\s+for ([\d,]+) schools of (\d+) effects with (\d+) borders", COUNTS
    )
    assert found is not None
    megabytes, schools, effects, thresholds = (int(v.replace(",", "")) for v in found.groups())
    assert round(8 * schools * effects * thresholds / 1e6) == megabytes


REGIONS = 20


@pytest.mark.parametrize("printed_variance", [".09", ".04"])
def test_cohort_priors_do_what_the_page_says(printed_variance: str) -> None:
    printed = table(MEANS, r"true $\tau^2$", printed_variance)
    seen = []
    for seed in range(REGIONS):
        frame, effect = cohort(seed, np.sqrt(float(printed_variance)))
        row = []
        for model in (
            SchoolLevelModel("outcome ~ prior + context", n="n", sd=1.0),
            SchoolLevelModel(
                "outcome ~ context", n="n", sd=1.0, cohort_prior="prior", within_correlation=0.7
            ),
        ):
            fit = model.fit(frame)
            shown = fit.intervals(level=0.9)
            inside = (shown["conf_low"] <= effect) & (effect <= shown["conf_high"])
            row += [fit.variances["persistent"], float(inside.mean())]
        seen.append(row)
    naive, naive_cover, joint, joint_cover = np.mean(seen, axis=0)
    assert list(printed.values()) == [
        f"{naive:.3f}"[1:],
        f"{naive_cover:.0%}".replace("%", " %"),
        f"{joint:.3f}"[1:],
        f"{joint_cover:.0%}".replace("%", " %"),
    ]


def cohort(seed: int, sd: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Return 400 schools with two means of the same pupils, and their true value added."""
    rng = np.random.default_rng(seed)
    size = 400
    n = np.clip(np.round(np.exp(rng.normal(np.log(14), 0.7, size))), 3, 60)
    context, effect, latent = rng.normal(size=(3, size))
    effect, latent = sd * effect, np.sqrt(0.15) * latent + 0.2 * context
    first, second = rng.normal(size=(2, size)) / np.sqrt(n)
    second = 0.7 * first + np.sqrt(1 - 0.7**2) * second
    frame = pd.DataFrame(
        {
            "school_id": [f"S{k:03d}" for k in range(size)],
            "n": n.astype(int),
            "context": context,
            "prior": latent + first,
            "outcome": 0.7 * latent + 0.1 * context + effect + second,
        }
    )
    return frame, effect
