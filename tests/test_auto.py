"""The choice among estimators by measurement: right where the answer is known, silent where there is none."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from calibration import FALSE_ALARM, POWER, assert_mean
from catalogue import logits_of, table_function
from failing import Failing
from scipy import stats

import discretegrad as dg
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
f = lambda points: (points * torch.arange(4.0)).sum((-1, -2)).square()
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
    """Twice the same estimator: 400 choices at a level of 0.05; a rate of 0.2 would be noticed."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    auto = dg.Auto([dg.RLOO(2), dg.VarGrad(2)], replicates=32, rounds=1)
    critical = stats.binom.isf(FALSE_ALARM / COMPARISONS, 400, 0.05)
    assert stats.binom.sf(critical, 400, 0.2) > POWER
    choices = [auto(f, logits, seeded(seed)) for seed in range(400)]
    assert sum(choice.leads for choice in choices) <= critical
    # Nor does noise decide in favour of the second: where nobody leads it is always the first.
    assert all(choice.name == "RLOO" for choice in choices if not choice.leads)
    assert "Nobody leads" in next(choice.reason for choice in choices if not choice.leads)


def test_picks_what_is_better():
    f, logits = weighted()
    choice = dg.Auto([dg.Reinforce(2), dg.RLOO(2), dg.RLOO(4)])(f, logits, seeded())
    assert choice.leads
    assert choice.estimator == dg.RLOO(4)  # 4 evaluations have a baseline of three others, worth more than twice
    assert choice.name == "RLOO (2)"
    assert choice.reason.startswith("RLOO (2) leads: its variance_evaluations is 0.")
    variances = [row.variance.value for row in choice.table]
    assert variances[0] > 5 * variances[1]
    for row in choice.table:
        assert row.number.value == pytest.approx(row.variance.value * row.evaluations.value)
        assert row.seconds.value > 0


def test_where_nobody_leads_the_cheaper_one_is_chosen():
    """The score of one point has S times less variance with S points: equal for equal evaluations."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    choice = dg.Auto([dg.Reinforce(4), dg.Reinforce(1)], level=1e-6)(f, logits, seeded())
    assert not choice.leads
    assert choice.estimator == dg.Reinforce(1)
    assert "Nobody leads" in choice.reason
    assert dg.Auto([dg.Reinforce(4), dg.Reinforce(1)], criterion="variance")(f, logits, seeded()).name == "Reinforce"


def test_time_is_part_of_the_criterion_that_says_so(monkeypatch):
    """By times that are given: on a busy machine they may be too uncertain for anybody to lead."""
    f, logits = weighted()
    monkeypatch.setattr(Problem, "seconds", lambda *arguments: [Estimate(1e-3, 1e-5), Estimate(1.0, 0.01)])
    choice = dg.Auto([dg.RLOO(2), dg.Exact()], criterion="variance_time")(f, logits, seeded())
    assert choice.name == "Exact"  # whatever it takes
    assert choice.table[1].variance[:2] == (0.0, 0.0)
    row = choice.table[0]
    assert row.number.value == pytest.approx(row.variance.value * 1e-3)
    assert row.number.error >= row.variance.error * row.seconds.value


def test_biased_candidates_are_judged_by_their_error():
    """Straight-through has little variance on a curved f, and a bias that more than outweighs it."""
    weight = torch.tensor([[0.5, 1.0, 4.0]], dtype=torch.float64)
    cubic = lambda points: (points.pow(3) * weight).sum((-1, -2)) + 2 * points[..., 0, 2].pow(8)  # noqa: E731
    logits = torch.zeros(6, 1, 3, dtype=torch.float64)
    candidates = [dg.StraightThrough(4), dg.RLOO(64)]
    choice = dg.Auto(candidates, allow_biased=True)(cubic, logits, seeded())
    first, second = choice.table
    assert first.variance.value < first.mean_squared_error.value
    assert second.variance == second.mean_squared_error
    assert choice.criterion == "mean_squared_error"
    assert choice.name == "RLOO"


@pytest.mark.parametrize("criterion", ["variance", "variance_evaluations"])
def test_a_generator_determines_all_but_the_times(criterion):
    f, logits = weighted()
    generator = seeded(3)
    auto = dg.Auto([dg.RLOO(2), dg.DisARMTree(), dg.DoubleCV()], criterion=criterion)
    first, second = auto(f, logits, generator), auto(f, logits, generator)  # whose state is restored
    assert [row[:4] for row in map(astuple, first.table)] == [row[:4] for row in map(astuple, second.table)]
    assert first.name == second.name
    assert first.reason == second.reason
    assert first.table[0].variance != auto(f, logits, seeded(4)).table[0].variance


def astuple(row):
    return row.name, row.evaluations, row.variance, row.number


def test_leaves_no_trace():
    network = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(12, 8), torch.nn.Dropout(0.5)).double()
    network.eval()
    baseline = dg.nn.LearnedBaseline(torch.nn.Linear(12, 1).double())
    logits = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    before, states = torch.random.get_rng_state(), [p.clone() for p in baseline.parameters()]
    candidates = [dg.RLOO(2), dg.Reinforce(2, baseline), dg.MuProp(), dg.Reinforce(2, dg.BatchLeaveOneOut(0))]
    with torch.no_grad():
        choice = dg.Auto(candidates)(lambda points: network(points).sum(-1), logits)
    assert len(choice.table) == 4
    assert torch.equal(before, torch.random.get_rng_state())
    assert logits.grad is None
    assert all(p.grad is None for p in (*network.parameters(), *baseline.parameters()))
    assert all(torch.equal(*pair) for pair in zip(states, baseline.parameters(), strict=True))
    assert not network.training


def test_what_fails_is_reported_and_the_others_go_on():
    f, logits = weighted()
    detached = lambda points: f(points.detach())  # noqa: E731
    choice = dg.Auto()(detached, logits, seeded())
    assert set(choice.failures) == {"MuProp", "DoubleCV"}
    assert all("no graph back to draw.points" in failure for failure in choice.failures.values())
    assert [row.name for row in choice.table] == ["RLOO", "DisARMTree", "DisARMSB", "Flow", "CARMS"]
    many = dg.Auto([dg.Exact(), dg.RLOO()])(lambda points: points[..., 0].sum(-1), torch.zeros(1, 20, 4), seeded())
    assert "Exact" in many.failures
    assert many.reason == "RLOO is the only candidate that could be measured."
    assert not many.leads
    text = str(choice)
    assert "MuProp failed: MuProp needs the gradient of f" in text
    assert max(map(len, text.splitlines())) <= 80
    assert sum(line.startswith("* ") for line in text.splitlines()) == 1


def test_what_fails_while_it_is_timed_is_said_and_the_others_go_on():
    """Timing is the last that is done, so that the first call that fails is in it."""
    f, logits = weighted()
    failing = Failing(f, KeyError("three"), points=3)
    auto = dg.Auto([dg.RLOO(2), dg.RLOO(3)], replicates=16, rounds=5)
    auto(failing, logits, seeded())
    last = failing.calls - 1
    failing.from_call(last)
    choice = auto(failing, logits, seeded())
    assert choice.failures == {"RLOO (2)": "while it was timed: KeyError: 'three'"}
    assert [row.name for row in choice.table] == ["RLOO"]
    alone = dg.Auto([dg.RLOO(3)], replicates=16, rounds=5)
    failing.from_call(last)
    with pytest.raises(ValueError, match=r"no unbiased candidate could be measured\. RLOO: while it was timed"):
        alone(failing, logits, seeded())


def test_it_raises_where_nothing_can_be_measured():
    with pytest.raises(ValueError, match=r"no unbiased candidate could be measured.*not finite.*NaN"):
        dg.Auto([dg.RLOO()])(lambda points: points.sum((-1, -2)) * torch.nan, torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"no unbiased candidate could be measured.*broken"):
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
    auto = dg.Auto(latent=latent, replicates=16, rounds=1)
    choice = auto(f, logits, seeded())
    assert not choice.failures
    assert all(0 <= row.variance.value < torch.inf for row in choice.table)
    if len(shape) == 2:
        mask = torch.tensor([True, False, True])
        padded = logits.clone()
        padded[:, 1] = torch.nan
        masked = auto(f, padded, seeded(), mask)
        padded[:, 1] = 0.0
        assert masked.table[0].variance == auto(f, padded, seeded(), mask).table[0].variance
        off = auto(f, padded, seeded(), torch.zeros(3, dtype=torch.bool))
        assert all(row.variance[:2] == (0.0, 0.0) for row in off.table)


@pytest.mark.parametrize(("freedom", "exceeds"), [(31, True), (2, False)])
def test_a_time_of_few_rounds_leads_by_more(freedom, exceeds):
    """As far above as 2.5 standard errors."""
    choice = dg.Auto([dg.RLOO(2)], replicates=16, rounds=1)(weighted()[0], weighted()[1], seeded())
    one, other = (replace(choice.table[0], number=Estimate(value, 0.02, freedom)) for value in (1.0, 1.0707))
    assert other.exceeds(one, 0.05) == exceeds and not one.exceeds(other, 0.05)


def test_names_can_be_given():
    f, logits = weighted()
    choice = dg.Auto({"two": dg.RLOO(2), "four": dg.RLOO(4)}, criterion="variance")(f, logits, seeded())
    assert choice.name == "four"
    assert [row.name for row in choice.table] == ["two", "four"]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"candidates": []}, ValueError, "no candidates"),
        ({"candidates": ["rloo"]}, TypeError, "must be an estimator such as RLOO"),
        ({"candidates": [dg.RLOO(), dg.VIMCO()]}, ValueError, "multi-sample bound"),
        ({"candidates": [dg.RLOO(), dg.GumbelSoftmax()]}, ValueError, "biased, which its variance does not show"),
        ({"candidates": [dg.GumbelSoftmax()], "allow_biased": True}, ValueError, "add RLOO"),
        ({"candidates": [dg.RLOO(), dg.DisARM()]}, ValueError, "one latent only"),
        ({"criterion": "speed"}, ValueError, "criterion is one of"),
        ({"criterion": "variance", "allow_biased": True}, ValueError, "does not average out"),
        ({"replicates": 15}, ValueError, "at least 16"),
        ({"rounds": 0}, ValueError, "rounds must be an integer"),
        ({"level": 0.0}, ValueError, "rate of false leads"),
        ({"latent": "ordinal"}, ValueError, "latent is one of"),
    ],
)
def test_refusals(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        dg.Auto(**arguments)


def test_it_needs_torch_alone():
    """And so does importing what measures."""
    found = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["RLOO", "Estimate"]
