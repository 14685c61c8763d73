"""Cosines with a truth that is itself an estimate: right on average, and with the errors that they state."""

import math

import pytest
import torch
from test_moments import gradients, moments_of

from discretegrad.analysis import Truth
from discretegrad.analysis.cosines import Cosines

D = 400
TRUTH = torch.full((D,), math.sqrt(10 / D), dtype=torch.float64)
"""Of squared norm 10, beside a variance of 400: the noise of a long run of 64 adds more than half to it."""


def cosines_of(samples, direction, *parts):
    cosines = Cosines(samples.shape[1])
    for part in samples.split(list(parts) or [len(samples)]):
        cosines.update(part, direction)
    return cosines


def noisy(count, generator):
    return TRUTH + torch.randn(count, D, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("parts", [(1000,), (1, 5, 994)])
def test_with_an_exact_truth_the_numbers_are_those_of_all_at_once(parts):
    samples, direction = gradients(1000), torch.arange(7.0, dtype=torch.float64)
    singles = torch.cosine_similarity(samples, direction, dim=1)
    found = cosines_of(samples, direction, *parts).mean(Truth(direction))
    assert math.isclose(found.value, singles.mean(), rel_tol=1e-12)
    assert math.isclose(found.error, singles.std() / 1000**0.5, rel_tol=1e-9)


def test_replicates_from_before_there_was_a_truth_are_not_counted():
    direction = torch.arange(7.0, dtype=torch.float64)
    cosines = cosines_of(gradients(200), direction)
    before = cosines.mean(Truth(direction))
    cosines.update(gradients(300, seed=1), None)
    cosines.merge(cosines_of(gradients(50, seed=2), None))
    assert cosines.mean(Truth(direction)) == before
    assert cosines_of(gradients(50), None).mean(Truth(direction)) is None
    assert cosines.mean(Truth(torch.zeros_like(direction))) is None


@pytest.mark.slow
def test_two_runs_that_merge_each_with_a_truth_of_its_own():
    """Over 400 repetitions: the mean within 5 standard errors, and errors right within a factor of 1.25."""
    generator = torch.Generator().manual_seed(0)
    exact = float(torch.cat([torch.cosine_similarity(noisy(10_000, generator), TRUTH) for _ in range(20)]).mean())
    found = []
    for _ in range(400):
        runs = [moments_of(noisy(64, generator)) for _ in range(2)]
        one, other = (cosines_of(noisy(64, generator), run.average()) for run in runs)
        one.merge(other)
        runs[0].merge(runs[1])
        found.append(one.mean(Truth(runs[0].average(), runs[0])))
    values, errors, _ = torch.tensor(found, dtype=torch.float64).T
    spread = values.std()
    assert abs(values.mean() - exact) < 5 * spread / 400**0.5
    assert 1 / 1.25 < errors.square().mean().sqrt() / spread < 1.25


def test_a_truth_that_drowns_in_noise_has_no_direction():
    generator = torch.Generator().manual_seed(0)
    run = moments_of(noisy(64, generator) - TRUTH)
    assert cosines_of(noisy(64, generator), run.average()).mean(Truth(run.average(), run)) is None
