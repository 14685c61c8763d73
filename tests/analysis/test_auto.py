"""The choice among estimators by measurement: right where the answer is known, silent where there is none."""

import subprocess
import sys

import pytest
import torch
from calibration import FALSE_ALARM, POWER, assert_mean
from catalogue import logits_of, table_function
from failing import Failing
from scipy import stats

import discretegrad as dg
from discretegrad.analysis import measuring
from discretegrad.analysis.estimate import Estimate
from discretegrad.analysis.moments import Moments, Truth
from discretegrad.analysis.replicator import Problem, Replicator

COMPARISONS = 8
ALONE = """
import sys
sys.modules |= dict.fromkeys(("scipy", "matplotlib"))  # whose import then fails
import torch
import discretegrad as dg
from discretegrad import analysis
f = lambda points: 100 + (points * torch.arange(4.0)).sum((-1, -2)).square()
print(dg.Auto([dg.Reinforce(2), dg.RLOO(2)])(f, torch.zeros(5, 3, 4)).name, analysis.Estimate.__name__)
"""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def weighted(categories=4, batch=5, variables=3):
    """A smooth f that knows its batch, and logits."""
    weight = torch.randn(batch, variables, categories, dtype=torch.float64)
    return lambda points: (points * weight).sum((-1, -2)).tanh() + 3.0, torch.randn_like(weight)


def gradients(problem, estimator, count):
    return torch.cat([found.gradients for found in Replicator(problem, estimator).take(count)])


def moments_of(samples):
    moments = Moments({"logits": samples.shape[1]}, groups=16)
    moments.update(samples)
    return moments


def error_of(samples, reference):
    run = moments_of(reference)
    return moments_of(samples).summary(Truth(run.average(), run)).mean_squared_error


def assert_estimates(estimates, exact, relative_bias):
    """Independent estimates with their errors: the mean is exact, and the errors are what repetition shows."""
    values, errors, _ = torch.tensor(estimates, dtype=torch.float64).T
    assert_mean(values, exact, relative_bias, COMPARISONS)
    assert 1 / 1.5 < float(errors.square().mean().sqrt() / values.std()) < 1.5


@pytest.mark.parametrize(
    ("estimator", "runs"), [(dg.RLOO(2), 2000), (dg.DisARMTree(), 2000), (dg.DoubleCV(), 100), (dg.UnorderedSet(), 100)]
)
def test_variances_are_those_of_the_oracle(estimator, runs):
    """Whether replicates are batch elements, as of the first two, or draws of their own (too slow for as many)."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    parts = gradients(Problem(f, logits, seeded()), estimator, runs * 16).split(16)
    exact = dg.exact.moments(estimator, f, logits).total_variance
    assert_estimates([moments_of(part).summary().variance for part in parts], exact, 0.1 if runs == 2000 else 0.7)


@pytest.mark.slow
def test_mean_squared_errors_are_those_of_the_oracle():
    """The table's gradient from ids 1 / 6 too large: an unbiased estimator of another f is a biased one of this."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    problem = Problem(f, logits, seeded())
    reference = gradients(problem, dg.RLOO(), 2000 * 64).split(64)
    biased = (gradients(problem, dg.RLOO(), 2000 * 16) * 7 / 6).split(16)
    moments = dg.exact.moments(dg.RLOO(), f, logits)
    exact = moments.total_variance * 49 / 36 + moments.mean.square().sum() / 36
    corrected = [error_of(*pair) for pair in zip(biased, reference, strict=True)]
    assert_estimates(corrected, exact, 0.1)
    # Without the correction for the reference's own noise it would be seen to be too large.
    naive = [(one - truth.mean(0)).square().sum(1).mean() for one, truth in zip(biased, reference, strict=True)]
    noise = torch.stack(naive) - torch.tensor([estimate.value for estimate in corrected])
    torch.testing.assert_close(noise.mean(), moments.total_variance / 64, rtol=0.05, atol=0)


@pytest.mark.slow
def test_a_lead_that_is_not_there_is_claimed_as_rarely_as_stated():
    """Twice the same estimator: 400 choices with a confidence of 95 %; a rate of 0.2 would be noticed."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    candidates = [dg.RLOO(2), dg.VarGrad(2)]
    critical = stats.binom.isf(FALSE_ALARM / COMPARISONS, 400, 0.05)
    assert stats.binom.sf(critical, 400, 0.2) > POWER
    choices = [dg.Auto(candidates, replicates=64, rounds=0, seed=seed)(f, logits) for seed in range(400)]
    assert sum(choice.leads for choice in choices) <= critical
    assert "nobody leads by more than noise" in next(str(choice) for choice in choices if not choice.leads)


def test_picks_what_is_better():
    f, logits = weighted()
    choice = dg.Auto([dg.Reinforce(2), dg.RLOO(2), dg.RLOO(4)])(f, logits)
    assert choice.leads
    assert choice.estimator == dg.RLOO(4)  # 4 evaluations have a baseline of three others, worth more than twice
    assert choice.name == "RLOO (2)"
    assert choice.recommendation.sentence.startswith("Use RLOO (2): its variance x evaluations of f is 0.")
    results = choice.comparison.results
    assert results["Reinforce"].variance.value > 5 * results["RLOO"].variance.value
    for name, result in results.items():
        number = choice.recommendation.numbers[name]
        assert number.value == pytest.approx(result.variance.value * result.evaluations.value)
        assert result.seconds.value > 0


def test_where_nobody_leads_the_cheaper_one_is_chosen():
    """The score of one point has S times less variance with S points: equal for equal evaluations."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    candidates = [dg.Reinforce(4), dg.Reinforce(1)]
    choice = dg.Auto(candidates, confidence=1 - 1e-6)(f, logits)
    assert not choice.leads
    assert choice.estimator == dg.Reinforce(1)
    assert "it takes the fewest evaluations of f. Reinforce may be as good." in str(choice.recommendation)
    assert dg.Auto(candidates, criterion="variance")(f, logits).name == "Reinforce"


def test_time_is_part_of_the_criterion_that_says_so(monkeypatch):
    """By times that are given: on a busy machine they may be too uncertain for anybody to lead."""
    f, logits = weighted()
    monkeypatch.setattr(measuring, "in_turns", lambda *arguments: [Estimate(1e-3, 1e-5), Estimate(1.0, 0.01)])
    choice = dg.Auto([dg.RLOO(2), dg.Exact()], criterion="variance_time")(f, logits)
    assert choice.name == "Exact"  # whatever it takes
    results = choice.comparison.results
    assert results["Exact"].variance[:2] == (0.0, 0.0)
    number, variance = choice.recommendation.numbers["RLOO"], results["RLOO"].variance
    assert number.value == pytest.approx(variance.value * 1e-3)
    assert number.error >= variance.error * 1e-3


@pytest.mark.parametrize("averaged", [{"average": 1}, {"criterion": "mse"}])
def test_biased_candidates_are_judged_by_their_error(averaged):
    """Straight-through has little variance on a curved f, and a bias that more than outweighs it."""
    weight = torch.tensor([[0.5, 1.0, 4.0]], dtype=torch.float64)
    cubic = lambda points: (points.pow(3) * weight).sum((-1, -2)) + 2 * points[..., 0, 2].pow(8)  # noqa: E731
    logits = torch.zeros(6, 1, 3, dtype=torch.float64)
    choice = dg.Auto([dg.StraightThrough(4), dg.RLOO(64)], **averaged)(cubic, logits)
    biased, unbiased = choice.comparison.results.values()
    assert biased.variance.value < biased.mse.value
    assert unbiased.variance.value == pytest.approx(unbiased.mse.value, rel=0.2)
    assert choice.recommendation.criterion == "mse"
    assert choice.name == "RLOO"


@pytest.mark.parametrize("criterion", ["variance", "variance_evaluations"])
def test_the_seed_determines_all_but_the_times(criterion):
    f, logits = weighted()
    candidates = [dg.RLOO(2), dg.DisARMTree(), dg.DoubleCV()]
    first, second, other = (dg.Auto(candidates, criterion=criterion, seed=seed)(f, logits) for seed in (3, 3, 4))
    assert first.recommendation.numbers == second.recommendation.numbers
    assert first.name == second.name
    variances = [choice.comparison.results["RLOO"].variance for choice in (first, other)]
    assert variances[0] != variances[1]


def test_leaves_no_trace():
    network = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(12, 8), torch.nn.Dropout(0.5)).double()
    network.eval()
    baseline = dg.nn.LearnedBaseline(torch.nn.Linear(12, 1).double())
    logits = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    before, states = torch.random.get_rng_state(), [p.clone() for p in baseline.parameters()]
    candidates = [dg.RLOO(2), dg.Reinforce(2, baseline), dg.MuProp(), dg.Reinforce(2, dg.BatchLeaveOneOut(0))]
    with torch.no_grad():
        choice = dg.Auto(candidates)(lambda points: network(points).sum(-1), logits)
    assert len(choice.comparison.results) == 4
    assert torch.equal(before, torch.random.get_rng_state())
    assert logits.grad is None
    assert all(p.grad is None for p in (*network.parameters(), *baseline.parameters()))
    assert all(torch.equal(*pair) for pair in zip(states, baseline.parameters(), strict=True))
    assert not network.training


def test_what_fails_is_reported_and_the_others_go_on():
    f, logits = weighted()
    detached = lambda points: f(points.detach())  # noqa: E731
    choice = dg.Auto()(detached, logits)
    failures = choice.comparison.failures
    assert set(failures) == {"MuProp", "DoubleCV"}
    assert all("no graph back to draw.points" in failure for failure in failures.values())
    assert list(choice.comparison.results) == ["RLOO", "DisARMTree", "DisARMSB", "Flow", "CARMS"]
    many = dg.Auto([dg.Exact(), dg.RLOO()])(lambda points: points[..., 0].sum(-1), torch.zeros(1, 20, 4))
    assert "Exact" in many.comparison.failures
    assert many.recommendation.sentence.startswith("RLOO is the only unbiased estimator that was measured.")
    assert not many.leads
    text = str(choice)
    assert "MuProp failed: MuProp needs the gradient of f" in text
    assert max(map(len, text.splitlines())) <= 80
    assert f"Use {choice.name}" in text


def test_what_fails_while_it_is_timed_is_said_and_not_chosen():
    """Timing is the last that is done, so that the first call that fails is in it."""
    f, logits = weighted()
    failing = Failing(f, KeyError("three"), points=3)
    auto = dg.Auto([dg.RLOO(2), dg.RLOO(3)], replicates=64, rounds=5)
    assert auto(failing, logits).name == "RLOO (2)"
    last = failing.calls - 1
    failing.from_call(last)
    choice = auto(failing, logits)
    assert choice.comparison.failures == {"RLOO (2)": "while it was timed: KeyError: 'three'"}
    assert choice.name == "RLOO"
    alone = dg.Auto([dg.RLOO(3)], replicates=64, rounds=5)
    failing.from_call(last)
    with pytest.raises(ValueError, match=r"No unbiased estimator was measured.* RLOO: while it was timed"):
        alone(failing, logits)


def test_it_raises_where_nothing_can_be_measured():
    with pytest.raises(ValueError, match=r"No unbiased estimator was measured.*not finite.*NaN"):
        dg.Auto([dg.RLOO()])(lambda points: points.sum((-1, -2)) * torch.nan, torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"No unbiased estimator was measured.*broken"):
        dg.Auto([dg.RLOO(), dg.DisARMTree()])(broken, torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="logits hold NaN"):
        dg.Auto([dg.RLOO()])(broken, torch.full((2, 3, 4), torch.nan))


def broken(points):
    raise RuntimeError("broken")


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_both_latents_any_shape_and_a_mask(latent, shape):
    """What is masked off counts nothing, whatever its logits."""
    logits = torch.randn((*shape, 4) if latent == "categorical" else shape)
    dims = tuple(range(2, logits.ndim + 1)) if len(shape) == 2 else tuple(range(1, logits.ndim + 1))
    f = lambda points: points.mul(2.0).sum(dims).cos() if dims else points.cos()  # noqa: E731
    auto = dg.Auto(latent=latent, replicates=64, rounds=0)
    variances = variances_of(auto(f, logits))
    assert all(0 <= variance.value < torch.inf for variance in variances)
    if len(shape) == 2:
        mask = torch.tensor([True, False, True])
        padded = logits.clone()
        padded[:, 1] = torch.nan
        masked = variances_of(auto(f, padded, mask))
        padded[:, 1] = 0.0
        assert masked == variances_of(auto(f, padded, mask))
        off = variances_of(auto(f, padded, torch.zeros(3, dtype=torch.bool)))
        assert all(variance[:2] == (0.0, 0.0) for variance in off)


def variances_of(choice):
    assert not choice.comparison.failures
    return [result.variance for result in choice.comparison.results.values()]


def test_an_f_of_ids_is_measured():
    values = torch.arange(4.0)
    choice = dg.Auto([dg.Reinforce(2), dg.RLOO(2)])(
        lambda ids: 100 + values[ids].sum(-1).square(), torch.zeros(5, 3, 4), on="ids"
    )
    assert choice.name == "RLOO" and choice.leads


def test_names_can_be_given():
    f, logits = weighted()
    choice = dg.Auto({"two": dg.RLOO(2), "four": dg.RLOO(4)}, criterion="variance")(f, logits)
    assert choice.name == "four"
    assert list(choice.comparison.results) == ["two", "four"]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"candidates": []}, ValueError, "no estimators to compare"),
        ({"candidates": ["rloo"]}, TypeError, "must be one such as RLOO"),
        ({"candidates": [dg.RLOO(), dg.VIMCO()]}, ValueError, "multi-sample bound"),
        ({"candidates": [dg.RLOO(), dg.GumbelSoftmax()]}, ValueError, "biased, which its variance does not show"),
        ({"candidates": [dg.RLOO(), dg.DisARM()]}, ValueError, "one latent only"),
        ({"criterion": "speed"}, ValueError, "criterion is one of"),
        ({"criterion": "variance", "average": 10}, ValueError, "does not average out"),
        ({"average": 0}, ValueError, "average must be an integer"),
        ({"replicates": 15}, ValueError, "at least 64"),
        ({"rounds": -1}, ValueError, "rounds must be an integer"),
        ({"confidence": 1.0}, ValueError, "confidence is a probability"),
        ({"latent": "ordinal"}, ValueError, "latent is one of"),
    ],
)
def test_refusals(arguments, error, sentence):
    """Before f is called."""
    with pytest.raises(error, match=sentence):
        dg.Auto(**arguments)(broken, torch.zeros(2, 3, 4))


def test_it_needs_torch_alone():
    """And so does importing what measures."""
    found = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["RLOO", "Estimate"]
