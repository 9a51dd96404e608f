"""Variances of failing shares are found again, and what cannot be found is refused."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

import resilience as rs
from resilience.stats.lists.share_moments import FailureParts, tetrachoric_parts

SCHOOL, RATE = 0.16, 0.2
PARTS = FailureParts(school_year=0.0625, school_procedure=0.04, cell=0.0225)


def region(rng, parts, *, n_schools=177, n_procedures=8, n_years=3, shared=1):
    """Return failing and participants; groups of ``shared`` procedures hold the same pupils."""
    S, P, T = n_schools, n_procedures, n_years
    size = rng.integers(8, 61, size=S)
    latent = ndtri(RATE) * np.sqrt(parts.total + SCHOOL)
    latent = latent + SCHOOL**0.5 * rng.normal(size=(S, 1, 1))
    latent = latent + parts.school_year**0.5 * rng.normal(size=(S, 1, T))
    latent = latent + parts.school_procedure**0.5 * rng.normal(size=(S, P, 1))
    latent = latent + parts.cell**0.5 * rng.normal(size=(S, P, T))
    n = np.broadcast_to(size[:, None, None], (S, P, T))
    if parts.pupil == 0:
        return rng.binomial(n, ndtr(latent)), n
    failing = np.zeros((S, P, T), dtype=int)
    for s in range(S):
        pupil = parts.pupil**0.5 * rng.normal(size=(P // shared, T, size[s]))
        own = np.repeat(pupil, shared, axis=0) + rng.normal(size=(P, T, size[s]))
        failing[s] = (latent[s][..., None] + own > 0).sum(axis=-1)
    return failing, n


def test_recovery_of_the_parts():
    """Published figures of the method: means .157 .0625 .0396 .0231, SD .021 .007 .004 .004."""
    rng = np.random.default_rng(11)
    found = []
    for _ in range(60):
        moments = tetrachoric_parts(*region(rng, PARTS))
        p = moments.parts
        found.append([moments.school, p.school_year, p.school_procedure, p.cell])
        assert p.pupil == 0
    mean, sd = np.mean(found, axis=0), np.std(found, axis=0)
    truth = np.array([0.16, 0.0625, 0.04, 0.0225])
    stated_sd = np.array([0.021, 0.007, 0.004, 0.004])
    # the school's variance is .003 low in the published run: half an SD of one region is ample
    assert (np.abs(mean - truth) < 3 * stated_sd / np.sqrt(60) + 0.02 * truth).all(), mean
    # an SD from 60 regions is uncertain by 1/√120 = 9 %; four of these and the rounding of .004
    assert (np.abs(sd / stated_sd - 1) < 0.4).all(), sd


def test_recovery_of_the_pupil():
    rng = np.random.default_rng(12)
    parts = FailureParts(school_year=0.0625, school_procedure=0.04, cell=0.0225, pupil=0.5)
    grades = [5, 5, 6, 6, 7, 7, 8, 8]
    found = []
    for _ in range(40):
        p = tetrachoric_parts(*region(rng, parts, shared=2), grades=grades).parts
        found.append([p.pupil, p.school_year, p.school_procedure, p.cell])
    error = np.std(found, axis=0) / np.sqrt(40)
    assert (np.abs(np.mean(found, axis=0) - [0.5, 0.0625, 0.04, 0.0225]) < 3.5 * error).all()


def test_shared_pupils_do_not_pass_for_a_year_of_the_school():
    rng = np.random.default_rng(13)
    parts = FailureParts(pupil=1.0)
    known, blind = [], []
    for _ in range(20):
        failing, n = region(rng, parts, shared=2)
        known.append(tetrachoric_parts(failing, n, grades=[5, 5, 6, 6, 7, 7, 8, 8]).parts)
        blind.append(tetrachoric_parts(failing, n).parts)
    # in units of one result (pupil included) blind estimates are half of those in units of the rest
    assert np.mean([p.school_year for p in blind]) > np.mean([p.school_year for p in known])
    assert np.mean([p.school_year for p in known]) < 0.01
    assert all(p.pupil == 0 for p in blind)


def test_a_cohort_in_two_years_is_left_out():
    """Grade 5 of one year is grade 6 of the next: its pairs do not speak of other pupils."""
    rng = np.random.default_rng(14)
    failing, n = region(rng, PARTS, n_procedures=2, n_years=2)
    with_grades = tetrachoric_parts(failing, n, grades=[5, 6], years=[2024, 2025])
    without = tetrachoric_parts(failing, n)
    assert without.n_pairs[3] == 2 * 177
    assert with_grades.n_pairs[3] == 177


def test_no_variation_gives_no_parts():
    rng = np.random.default_rng(15)
    n = np.full((177, 6, 3), 30)
    moments = tetrachoric_parts(rng.binomial(n, 0.2), n)
    p = moments.parts
    # SD of each estimate without variation, about .002 in 177 × 18 cells of 30
    assert max(moments.school, p.school_year, p.school_procedure, p.cell) < 0.01


def test_one_year_or_one_procedure_is_refused():
    n = np.full((30, 4, 1), 20)
    with pytest.raises(rs.DataError, match="fewer than two procedures or two years"):
        tetrachoric_parts(n // 5, n)
    with pytest.raises(rs.DataError, match="FailureParts"):
        tetrachoric_parts(n.transpose(0, 2, 1) // 5, n.transpose(0, 2, 1))
    with pytest.raises(rs.DataError, match="shape"):
        tetrachoric_parts(n[:, :, 0], n[:, :, 0])
    ones = np.ones((30, 2, 2), dtype=int)
    with pytest.raises(rs.DataError, match="two participants"):
        tetrachoric_parts(ones, ones)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "0.1", True])
def test_a_variance_that_is_none_is_refused(value):
    with pytest.raises(rs.SpecificationError, match="school_year"):
        FailureParts(school_year=value)
