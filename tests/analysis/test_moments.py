"""Streaming moments: the same numbers as from all replicates at once, and errors that are what repetition shows."""

import math

import pytest
import torch
from calibration import FALSE_ALARM
from scipy import stats

from discretegrad.analysis import Moments, Truth
from discretegrad.analysis.moments import GROUPS


def gradients(count, seed=0):
    """Of mean (3, ..., 3) and standard deviations 1 to 7."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 7, dtype=torch.float64, generator=generator) * torch.arange(1, 8) + 3


def moments_of(samples, *parts, sizes=None):
    moments = Moments(sizes or {"all": samples.shape[1]})
    for part in samples.split(list(parts) or [len(samples)]):
        moments.update(part)
    return moments


@pytest.mark.parametrize("parts", [(1000,), (1, 5, 100, 33, 64, 797), (31, 1, 32, 936)])
def test_whatever_the_parts_the_numbers_are_those_of_all_at_once(parts):
    samples = gradients(1000)
    moments = moments_of(samples, *parts, sizes={"a": 3, "b": 4})
    assert moments.replicates == 1000
    assert moments.count.max() - moments.count.min() <= 1
    torch.testing.assert_close(moments.average(), samples.mean(0))
    torch.testing.assert_close(moments.coordinate_variance(), samples.var(0))
    assert math.isclose(moments.summary().variance.value, samples.var(0).sum(), rel_tol=1e-12)
    assert math.isclose(moments.summary(layer="b").variance.value, samples[:, 3:].var(0).sum(), rel_tol=1e-12)


def test_merged_runs_are_one_run():
    samples = gradients(1000)
    one, other = moments_of(samples[:301]), moments_of(samples[301:])
    one.merge(other)
    torch.testing.assert_close(one.average(), samples.mean(0))
    torch.testing.assert_close(one.coordinate_variance(), samples.var(0))
    assert math.isclose(one.summary().variance.value, samples.var(0).sum(), rel_tol=1e-12)
    with pytest.raises(ValueError, match="do not merge"):
        one.merge(Moments({"other": 7}))


def test_a_small_variance_beside_a_large_mean_keeps_its_digits():
    samples = gradients(320) * 1e-6 + 1e6
    found = moments_of(samples, 100, 220).summary(Truth(samples.mean(0)))
    assert math.isclose(found.variance.value, samples.var(0).sum(), rel_tol=1e-4)
    assert abs(found.bias2.value) < 1e-8


def test_equal_replicates_have_no_variance_and_no_error():
    found = moments_of(torch.full((64, 3), 0.1)).summary(Truth(torch.full((3,), 0.1).double()))
    assert found.variance[:2] == (0.0, 0.0)
    assert found.bias2[:2] == (0.0, 0.0)
    assert found.snr.value == 0.0


@pytest.mark.parametrize(("dtype", "seen"), [(torch.float32, 1e-4), (torch.float64, 1e-12), (torch.bfloat16, 0.2)])
def test_what_rounding_can_do_is_neither_variance_nor_bias(dtype, seen):
    """Gradients that differ in their last bits, and whose mean is as far from the truth; far more is noticed."""
    epsilon = torch.finfo(dtype).eps
    exact = gradients(1)[0].to(dtype).double()
    for size, is_zero in ((2 * epsilon, True), (seen, False)):
        signs = torch.randn(128, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).sign()
        samples = (exact * (1 + size * (1 + signs))).to(dtype)
        moments, truth = moments_of(samples, sizes={"a": 3, "b": 4}), Truth(exact)
        for layer in (None, "a", "b"):
            found = moments.summary(truth, layer)
            if is_zero:
                assert found.variance[:2] == found.bias2[:2] == found.mean_squared_error[:2] == (0.0, 0.0)
            else:
                assert found.variance.value > 0 and found.bias2.value > 5 * found.bias2.error
        assert (moments.bias_p_value(truth) == 1.0) == is_zero
        merged = Moments({"a": 3, "b": 4})
        merged.merge(Moments.of_state(moments.state()))
        assert merged.summary(truth) == moments.summary(truth)


@pytest.mark.parametrize("exact", [True, False])
def test_estimates_have_the_errors_they_state(exact):
    """Over 400 repetitions: means within 5 standard errors of the truth, and errors right within a factor of 1.25."""
    deviations = torch.arange(1, 8, dtype=torch.float64)
    point = torch.full((7,), 3.5, dtype=torch.float64)  # 0.5 beside the mean
    truths = {"variance": deviations.square().sum(), "bias2": 7 * 0.25, "norm2": 7 * 9.0}
    truths["mean_squared_error"] = truths["variance"] + truths["bias2"]
    found = {name: [] for name in truths}
    for seed in range(400):
        truth = Truth(point)
        if not exact:
            run = moments_of(gradients(200, seed=10_000 + seed) + 0.5)
            truth = Truth(run.average(), run)
        summary = moments_of(gradients(500, seed)).summary(truth)
        for name, estimates in found.items():
            estimates.append(getattr(summary, name))
    for name, estimates in found.items():
        values, errors, _ = torch.tensor(estimates, dtype=torch.float64).T
        spread = values.std()
        assert abs(values.mean() - truths[name]) < 5 * spread / 400**0.5, name
        assert 1 / 1.25 < errors.square().mean().sqrt() / spread < 1.25, name


@pytest.mark.parametrize("exact", [True, False])
def test_no_bias_is_found_where_there_is_none_as_rarely_as_stated(exact):
    """p-values below 0.05 in 5 % of 600 repetitions (binomial test); below 0.01 nearly always with a clear bias."""
    false = true = 0
    for seed in range(600):
        moments = moments_of(gradients(128, seed) - 3)
        zero, other = torch.zeros(7, dtype=torch.float64), torch.full((7,), 2.0, dtype=torch.float64)
        run = None if exact else moments_of(gradients(512, 10_000 + seed) - 3)
        false += moments.bias_p_value(Truth(zero if run is None else run.average(), run), flips=199) <= 0.05
        if seed < 50:
            shifted = None if exact else moments_of(gradients(512, 10_000 + seed) - 1)
            true += moments.bias_p_value(Truth(other if shifted is None else shifted.average(), shifted)) <= 0.01
    assert stats.binomtest(false, 600, 0.05, alternative="greater").pvalue > FALSE_ALARM / 2
    assert true >= 45


def test_a_state_is_all_there_is():
    moments = moments_of(gradients(77))
    again = Moments.of_state(moments.state())
    for one in (moments, again):
        one.update(gradients(50, 1))
    assert moments.summary() == again.summary()
    assert again.count.shape == (GROUPS,)
