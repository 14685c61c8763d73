"""`analysis.compare`: right where the answer is known, in both forms; nothing lost, nothing changed."""

import math
import re
import signal
import time
from functools import partial

import pytest
import torch
from calibration import FALSE_ALARM
from catalogue import every, make
from failing import Failing
from torch import nn

import discretegrad as dg
from discretegrad import analysis
from discretegrad.analysis import replicator
from discretegrad.analysis.estimate import Estimate
from discretegrad.analysis.ranking import rank
from discretegrad.analysis.replicator import Problem
from discretegrad.analysis.result import ESTIMATES

B, V, C = 4, 2, 3


def problem(batch=B, seed=0):
    """A smooth f that knows its batch and is not linear in any variable, and logits."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(batch, V * C, 5, dtype=torch.float64, generator=generator)
    logits = torch.randn(batch, V, C, dtype=torch.float64, generator=generator)

    def f(points):
        return torch.einsum("...bi,bij->...bj", points.flatten(-2), weight).tanh().sum(-1)

    return f, logits


def of_element(f, b):
    """f of one batch element."""

    def alone(points):
        return f(points.unsqueeze(1).expand(-1, B, -1, -1))[:, b]

    return alone


def exact_moments(estimator, f, logits):
    """Variance and squared bias of the gradient over the batch, and the true gradient."""
    of_each = [dg.exact.moments(estimator, of_element(f, b), logits[b]) for b in range(B)]
    truth = torch.stack([dg.exact.gradient(of_element(f, b), logits[b]) for b in range(B)])
    bias = torch.stack([moments.mean for moments in of_each]) - truth
    return sum(float(moments.total_variance) for moments in of_each), float(bias.square().sum()), truth


QUICK = {"rounds": 0, "progress": False}
FOUR = {"RLOO(2)": dg.RLOO(2), "tree": dg.DisARMTree(), "ST": dg.StraightThrough(2), "RLOO(4)": dg.RLOO(4)}


@pytest.mark.parametrize("long_run", [False, True])
def test_the_numbers_are_those_of_the_oracle(long_run, monkeypatch):
    """Within 5.5 standard errors: false alarms below 1e-6 over the 16 of them, if errors are normal."""
    if long_run:
        monkeypatch.setattr(analysis.sources, "ENUMERATED", 1)
    f, logits = problem()
    found = analysis.compare(f, logits, FOUR, precision=0.02, **QUICK)
    assert found.truth_name.startswith("enumeration") != long_run
    for name, estimator in FOUR.items():
        variance, bias2, truth = exact_moments(estimator, f, logits)
        result = found.results[name]
        assert result.variance.error <= 0.02 * result.variance.value or result.replicates == 4096
        for estimate, exact in ((result.variance, variance), (result.bias2, bias2), (result.mse, variance + bias2)):
            assert abs(estimate.value - exact) < 5.5 * estimate.error, (name, estimate, exact)
        assert (result.bias_p_value < 1e-3) == (name == "ST")
        snr = math.sqrt(float((truth.square().sum() if name != "ST" else torch.tensor(math.nan)) / variance))
        assert name == "ST" or abs(result.snr.value - snr) < 5.5 * result.snr.error
        every_entry = result.coordinate_variance["logits"]
        assert every_entry.shape == logits.shape
        assert math.isclose(every_entry.sum(), result.variance.value, rel_tol=1e-9)
    if not long_run:
        torch.testing.assert_close(found.truth.gradient.reshape(logits.shape), truth)
        assert abs(found.norm2.value - truth.square().sum()) < 1e-9
    assert abs(found.norm2.value - truth.square().sum()) <= 5.5 * found.norm2.error + 1e-9
    assert found.ranking("variance").beats("RLOO(4)", "RLOO(2)")
    assert "ST" not in found.ranking("variance").numbers
    assert found.ranking("mse").leaders[0] in FOUR


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_state():
    """95 +- 2 % of 2,000 repetitions; where there is no bias, that of the bias covers zero at least so often.

    An interval that covers with 94.5 % probability, as that of a variance of 400 replicates, is outside with
    probability 0.003; of 1,000 repetitions it would be with 0.02.
    """
    f, logits = problem()
    exact = {name: exact_moments(estimator, f, logits) for name, estimator in FOUR.items()}
    hits = {}
    for seed in range(2000):
        found = analysis.compare(f, logits, FOUR, seed=seed, **QUICK)
        for name, (variance, bias2, _) in exact.items():
            for quantity, value in (("variance", variance), ("mse", variance + bias2), ("bias2", bias2)):
                low, high = found.interval(name, quantity)
                value = 0.0 if FOUR[name].unbiased and quantity == "bias2" else value
                hits[name, quantity] = hits.get((name, quantity), 0) + (low <= value <= high)
    for (name, quantity), count in hits.items():
        assert count >= 1860, (name, quantity, count)
        if quantity != "bias2" or name == "ST":
            assert count <= 1940, (name, quantity, count)


def test_layers_behind_the_logits():
    """Through an encoder, replicates together, against autograd of the exact expectation and one-by-one steps."""
    f, _ = problem()
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, V * C)).double()
    inputs = torch.randn(B, 6, dtype=torch.float64)
    logits = encoder(inputs).reshape(B, V, C)
    exact = torch.autograd.grad(
        sum(dg.exact.expectation(of_element(f, b), logits[b]) for b in range(B)),
        list(encoder.parameters()),
        retain_graph=True,
    )
    found = analysis.compare(f, logits, FOUR, wrt=encoder, replicates=2048, precision=0.03, **QUICK)
    torch.testing.assert_close(found.truth.gradient, torch.cat([gradient.flatten() for gradient in exact]))
    assert list(found.results["tree"].layers) == [name for name, _ in encoder.named_parameters()]

    def step(estimator):
        return estimator(f, encoder(inputs).reshape(B, V, C))

    by_step = analysis.compare(step, encoder, FOUR, replicates=512, **QUICK)
    torch.testing.assert_close(by_step.truth.gradient, found.truth.gradient)
    assert by_step.results["RLOO(4)"].evaluations[:2] == (4.0, 0.0)
    for name, result in found.results.items():
        for layer, of_layer in result.layers.items():
            other = by_step.results[name].layers[layer]
            for one, another in zip(of_layer, other, strict=True):
                error = math.hypot(one.error, another.error)
                assert abs(one.value - another.value) < 6 * error, (name, layer)
        assert math.isclose(sum(one.variance.value for one in result.layers.values()), result.variance.value)


class Doubled(torch.autograd.Function):
    """A function whose backward pass leaves torch, so that vmap cannot follow."""

    @staticmethod
    def forward(ctx, tensor):
        return 2 * tensor

    @staticmethod
    def backward(ctx, gradient):
        return torch.from_numpy(2 * gradient.numpy())


def test_an_encoder_that_vmap_does_not_know_is_gone_through_one_by_one():
    f, _ = problem()
    encoder, inputs = nn.Linear(6, V * C).double(), torch.randn(B, 6, dtype=torch.float64)
    found, expected = (
        analysis.compare(f, double(encoder(inputs)).reshape(B, V, C), FOUR, wrt=encoder, replicates=64, **QUICK)
        for double in (Doubled.apply, lambda tensor: 2 * tensor)
    )
    assert not found.failures and not found.notes
    for name, result in found.results.items():
        assert math.isclose(result.variance.value, expected.results[name].variance.value, rel_tol=1e-9)


def test_replicates_that_share_a_call_know_nothing_of_each_other():
    """With f scaled at one of them, the gradients of all others stay, bit for bit; for every estimator.

    Both calls do the same with tensors of the same shapes and strides, so that rounding is the same, too: a matrix
    product may round a row by its place, and another way to compute f by the strides of its gradient.
    """
    f, logits = problem()
    shared = 0
    for name, latent in every():
        estimator = make(name, latent, C)
        if estimator.of_bound:
            continue
        at = logits if latent == "categorical" else logits[..., 0]

        def of(points, at=at):
            return f(
                points if points.ndim > at.ndim + 1 or at.ndim == 3 else torch.stack((points, 1 - points, points), -1)
            )

        one = Problem(of, at).gradient(estimator)
        if Problem(of, at).together(estimator, one) == 1:
            continue

        def scaled(points, scale, of=of):
            values = of(points)
            return values * torch.where(torch.arange(len(values)) % 5 == 2, scale, 1.0).unsqueeze(1)

        before, after = (
            Problem(partial(scaled, scale=scale), at, torch.Generator().manual_seed(0))
            .gradient(estimator, 5, one.batch_dims)
            .gradients
            for scale in (1.0, -7.0)
        )
        same = (before == after).all(1)
        assert same.tolist() == [True, True, False, True, True], name
        shared += 1
    assert shared > 60


def test_a_file_is_taken_up_where_it_was_left(tmp_path, monkeypatch):
    """Interrupted twice, by the user, and as good as never interrupted: to the last bit."""
    monkeypatch.setattr(replicator, "ENTRIES", 50 * 2 * B * V * C)  # 50 replicates of two points in a call
    f, logits = problem()
    path, interrupted = tmp_path / "found.pt", Failing(f, KeyboardInterrupt(), at=(12, 25))
    arguments = {"precision": 0.03, "path": path, **QUICK}
    whole = analysis.compare(f, logits, FOUR, **(arguments | {"path": None}))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            analysis.compare(interrupted, logits, FOUR, **arguments)
        assert path.exists()
    resumed = analysis.compare(interrupted, logits, FOUR, **arguments)
    assert [result.replicates for result in resumed.results.values()] == [
        result.replicates for result in whole.results.values()
    ]
    assert resumed.rows() == whole.rows()
    loaded = analysis.Comparison.load(path)
    assert loaded.rows() == whole.rows()
    assert str(loaded) == str(whole)
    interrupted.calls = 100
    again = analysis.compare(interrupted, logits, FOUR, **arguments)
    assert interrupted.calls < 110, "what was measured was measured again"
    assert again.rows() == whole.rows()
    more = analysis.compare(f, logits, FOUR, **(arguments | {"precision": 0.015}))
    assert more.results["tree"].replicates > whole.results["tree"].replicates
    assert [file.name for file in tmp_path.iterdir()] == ["found.pt"]


def test_a_record_that_is_added_to_is_not_interrupted(tmp_path, monkeypatch):
    """Ctrl-C in the midst of it comes after: what is saved are whole replicates, which others follow."""
    monkeypatch.setattr(replicator, "ENTRIES", 50 * 2 * B * V * C)
    f, logits = problem()
    path, calls = tmp_path / "found.pt", 0
    merge = analysis.Moments._add

    def interrupted(moments, *arguments):
        nonlocal calls
        calls += 1
        if calls == 20:
            signal.raise_signal(signal.SIGINT)
        merge(moments, *arguments)

    arguments = {"precision": 0.03, **QUICK}
    whole = analysis.compare(f, logits, FOUR, **arguments)
    monkeypatch.setattr(analysis.Moments, "_add", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests may have it ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            analysis.compare(f, logits, FOUR, path=path, **arguments)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    saved = analysis.Comparison.load(path).records["RLOO(2)"]
    assert saved.moments.replicates * 2 == saved.counts[0]
    assert analysis.compare(f, logits, FOUR, path=path, **arguments).rows() == whole.rows()


def test_what_fails_while_it_is_timed_is_said_and_the_others_are_timed():
    f, candidates = Failing(F, KeyError("three"), points=3), {"two": dg.RLOO(2), "three": dg.RLOO(3)}
    analysis.compare(f, LOGITS, candidates, replicates=64, **QUICK)
    f.from_call(f.calls + 3)
    found = analysis.compare(f, LOGITS, candidates, replicates=64, rounds=4, progress=False)
    assert found.results["two"].seconds is not None and found.results["three"].seconds is None
    assert found.failures == {"three": "while it was timed: KeyError: 'three'"}
    assert found.ranking("variance").numbers.keys() == candidates.keys()
    assert "three failed: while it was timed" in str(found)


def test_a_reference_is_chosen_whatever_the_clock_says(monkeypatch):
    """Three points are much better than two for the evaluations, and slow."""
    f, logits = problem()

    def slow(points):
        if len(points) % 3 == 0:
            time.sleep(0.1)
        return f(points)

    estimators = {"two": dg.Reinforce(2), "three": dg.RLOO(3)}
    monkeypatch.setattr(analysis.sources, "ENUMERATED", 1)
    found = analysis.compare(lambda points: slow(points) + 1, logits, estimators, replicates=64, **QUICK)
    assert found.truth_name == "64 replicates of three"


def test_what_a_file_has_survives_a_failure_when_it_is_taken_up(tmp_path):
    f, logits = problem()
    path = tmp_path / "found.pt"
    analysis.compare(f, logits, FOUR, replicates=64, path=path, **QUICK)

    def broken(points):
        if len(points) > 2 * 100:
            raise RuntimeError("out of memory")
        return f(points)

    found = analysis.compare(broken, logits, FOUR, precision=0.01, path=path, **QUICK)
    assert list(found.results) == list(FOUR) == list(analysis.Comparison.load(path).results)
    assert "out of memory" in found.failures["tree"]
    assert all(result.replicates >= 64 for result in found.results.values())


def test_half_floats_do_not_overflow():
    f, logits = problem()
    logits = logits.half()
    found = analysis.compare(lambda points: 300 * f(points.double()).half(), logits, {"R": dg.Reinforce(1)}, **QUICK)
    assert 0 < found.results["R"].variance.value < math.inf


def test_files_of_other_problems_are_refused(tmp_path):
    f, logits = problem()
    path = tmp_path / "found.pt"
    arguments = {"replicates": 64, "path": path, **QUICK}
    analysis.compare(f, logits, [dg.RLOO(2)], **arguments)
    with pytest.raises(ValueError, match="another problem"):
        analysis.compare(f, logits + 1, [dg.RLOO(2)], **arguments)
    with pytest.raises(ValueError, match="another problem"):
        analysis.compare(lambda points: 2 * f(points), logits, [dg.RLOO(2)], **arguments)
    with pytest.raises(ValueError, match="seed 0, not 1"):
        analysis.compare(f, logits, [dg.RLOO(2)], seed=1, **arguments)
    with pytest.raises(ValueError, match="another name"):
        analysis.compare(f, logits, {"RLOO": dg.RLOO(4)}, **arguments)
    path.write_text("nothing of ours")
    with pytest.raises(ValueError, match="no comparison"):
        analysis.compare(f, logits, [dg.RLOO(2)], **arguments)


def test_runs_of_several_machines_merge():
    f, logits = problem()
    one, other = (
        analysis.compare(f, logits, FOUR, seed=seed, replicates=640, precision=1e-9, **QUICK) for seed in (0, 1)
    )
    both = one.merge(other)
    assert both.results["tree"].replicates == one.results["tree"].replicates + other.results["tree"].replicates
    assert both.results["tree"].variance.error < one.results["tree"].variance.error * 0.9
    assert one.results["tree"].replicates <= 640, "merging changed what was merged"
    with pytest.raises(ValueError, match="same random numbers"):
        one.merge(one)
    with pytest.raises(ValueError, match="different problems"):
        one.merge(analysis.compare(f, logits + 1, FOUR, replicates=64, **QUICK))
    apart = analysis.compare(f, logits, {"RLOO(8)": dg.RLOO(8)}, replicates=64, **QUICK)
    assert list(one.merge(apart).results) == [*FOUR, "RLOO(8)"]


def test_an_estimator_has_its_own_numbers_whatever_else_is_measured():
    f, logits = problem()
    alone = analysis.compare(f, logits, {"tree": dg.DisARMTree()}, replicates=256, **QUICK)
    torch.rand(7)
    among = analysis.compare(f, logits, FOUR, replicates=256, **QUICK)
    assert alone.results["tree"].variance == among.results["tree"].variance
    assert alone.rows() == [row for row in among.rows() if row["name"] == "tree"]
    other = analysis.compare(f, logits, {"tree": dg.DisARMTree()}, replicates=256, seed=1, **QUICK)
    assert alone.results["tree"].variance != other.results["tree"].variance


class Broken:
    """An f that breaks for estimators of three points."""

    def __init__(self, how):
        self.f, self.how = problem()[0], how

    def __call__(self, points):
        if len(points) % 3:
            return self.f(points)
        if self.how == "raises":
            raise RuntimeError("three is\none too many")
        if self.how == "shape":
            return self.f(points).sum(-1)[:-1]
        return self.f(points) * math.nan


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("raises", "three is one too many"),
        ("shape", "values must have one entry a point: [S, *batch] with S = 3; they have shape (2,)."),
        ("nan", "not finite"),
    ],
)
def test_what_one_estimator_stumbles_over_is_said_and_the_others_are_kept(how, sentence):
    estimators = {"two": dg.RLOO(2), "three": dg.RLOO(3), "four": dg.RLOO(4)}
    found = analysis.compare(Broken(how), problem()[1], estimators, replicates=64, **QUICK)
    assert list(found.results) == ["two", "four"]
    assert list(found.failures) == ["three"]
    assert sentence in found.failures["three"]
    text = " ".join(str(found).split())
    assert f"three failed: {found.failures['three']}" in text
    failed = found.rows()[-1]
    assert failed["failure"] == found.failures["three"] and failed["variance"] is None
    assert failed.keys() == found.rows()[0].keys()


def test_a_random_f_has_no_enumerated_truth():
    f, logits = problem()
    found = analysis.compare(lambda points: f(points) + torch.randn(()), logits, FOUR, replicates=128, **QUICK)
    (note,) = found.notes
    assert "f is random" in note and "(2, 4)" in note
    assert "replicates of" in found.truth_name
    assert list(found.results) == list(FOUR)
    noisy = lambda points: f(points) + 10 * torch.randn(())  # noqa: E731
    alone = torch.cat([Problem(noisy, logits).gradient(dg.Reinforce(1)).gradients for _ in range(1024)])
    found = analysis.compare(noisy, logits, {"R": dg.Reinforce(1)}, replicates=1024, precision=1e-9, **QUICK)
    assert math.isclose(found.results["R"].variance.value, alone.var(0).sum(), rel_tol=0.15)
    weight = nn.Parameter(torch.zeros(B, V, C))

    def step(estimator):
        return estimator(lambda points: points[..., 0].sum(-1) * torch.randn(()), weight)

    found = analysis.compare(step, {"weight": weight}, [dg.RLOO(2)], replicates=64, **QUICK)
    assert "the step is random" in found.notes[0]


def test_a_step_may_replace_its_estimator():
    f, logits = problem()
    weight = nn.Parameter(logits.detach().clone())

    def step(estimator):
        return estimator.replace()(f, weight)

    found = analysis.compare(step, {"weight": weight}, {"R": dg.RLOO(4)}, replicates=64, **QUICK)
    assert found.results["R"].evaluations.value == 4 and found.truth is not None


def test_without_a_truth_there_is_still_a_variance():
    def f(points):
        if points.requires_grad:
            return points.square().sum((-1, -2))
        raise RuntimeError("only with a gradient")

    found = analysis.compare(f, torch.zeros(2, 4), {"ST": dg.StraightThrough()}, replicates=64, **QUICK)
    assert found.truth is None and found.results["ST"].bias2 is None
    assert "No unbiased estimator was measured" in str(found)
    with pytest.raises(ValueError, match="was not measured"):
        found.interval("ST", "bias2")


def test_nothing_is_changed():
    f, logits = problem()
    model = nn.Sequential(nn.Linear(V * C, V * C), nn.BatchNorm1d(V * C), nn.Dropout(0.5)).double()
    baseline = dg.nn.RunningMean()
    data = torch.randn(B, V * C, dtype=torch.float64)
    logits.requires_grad_()

    def step(estimator):
        model.eval()
        model.train()
        draw = estimator.sample(model(data).reshape(B, V, C))
        values = f(draw.points)
        if estimator.learners:
            baseline.update(draw, values)
        return estimator.surrogate(draw, values)

    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[2].eval()
    state = torch.get_rng_state()
    candidates = {"tree": dg.DisARMTree(), "baseline": dg.Reinforce(baseline=baseline)}
    analysis.compare(step, model, candidates, replicates=64, rounds=2, progress=False)
    analysis.compare(f, logits, candidates, replicates=64, rounds=2, progress=False)
    assert torch.equal(state, torch.get_rng_state())
    assert model[0].training and not model[2].training
    assert all(parameter.grad is None for parameter in model.parameters()) and logits.grad is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert baseline.weight == 0


def test_cost_is_measured():
    f, logits = problem()
    found = analysis.compare(f, logits, FOUR, replicates=64, rounds=25, progress=False)
    for result in found.results.values():
        assert result.seconds.value > 0
        assert 0 < result.memory < 10**6
        assert result.variance_time.value == result.variance.value * result.seconds.value
        assert result.variance_evaluations.value == result.variance.value * result.evaluations.value
    found = timed(found, 0.02, 25)  # of whatever clock this machine has, for others may use it too
    assert found.recommendation.criterion == "variance_time"
    result = found.results["RLOO(2)"]
    assert math.isclose(result.seconds_to(0.1), result.variance_time.value / (0.01 * found.norm2.value))
    assert found.results["ST"].seconds_to(1e-3) == math.inf
    assert found.rows()[0]["seconds_to_10_percent"] == result.seconds_to(0.1)
    assert "its error is a tenth" in found.recommendation.sentence


def test_bernoulli_masks_context_and_ids():
    logits = torch.randn(3, 4, dtype=torch.float64)
    mask = torch.tensor([True, True, False, True])
    context = torch.randn(3, 5, dtype=torch.float64)
    learned = dg.Reinforce(1, dg.nn.LearnedBaseline(nn.Linear(5, 1).double()), latent="bernoulli")
    both = {"disarm": dg.DisARM(), "learned": learned}
    found = analysis.compare(
        lambda points: points.sum(-1).square(), logits, both, mask=mask, context=context, replicates=640, **QUICK
    )
    assert found.truth.gradient.reshape(3, 4)[:, 2].eq(0).all()
    for result in found.results.values():
        assert result.coordinate_variance["logits"][:, 2].eq(0).all()
        assert result.bias_p_value > FALSE_ALARM
    on_ids = analysis.compare(
        lambda ids: ids.double().sum(-1).square(),
        logits,
        {"disarm": dg.DisARM()},
        mask=mask,
        on="ids",
        replicates=640,
        **QUICK,
    )
    assert on_ids.results["disarm"].variance == found.results["disarm"].variance


def test_local_costs_and_single_variables():
    """Values for every variable by itself, and no batch at all."""
    weight = torch.randn(5, 3, dtype=torch.float64)
    logits = torch.randn(5, 3, dtype=torch.float64)
    found = analysis.compare(lambda points: (points * weight).sum(-1).square(), logits, FOUR, replicates=640, **QUICK)
    exact = [
        dg.exact.gradient(lambda p, w=w: (p * w).sum(-1).square(), one) for w, one in zip(weight, logits, strict=True)
    ]
    torch.testing.assert_close(found.truth.gradient.reshape(5, 3), torch.stack(exact))
    alone = analysis.compare(
        lambda points: (points * weight).sum((-1, -2)).square(), logits, FOUR, replicates=640, **QUICK
    )
    assert alone.truth_name == "enumeration"
    assert alone.results["tree"].bias_p_value > FALSE_ALARM


def test_rows_have_the_columns_that_are_listed():
    found = analysis.compare(*problem(), FOUR, replicates=64, rounds=3, progress=False)
    listed = set(re.findall(r"`(\w+)`", analysis.Comparison.rows.__doc__))
    named = {*listed, *(f"{name}_se" for name in ESTIMATES), "bias2_low", "bias2_high", "mse_low", "mse_high"}
    assert all(set(row) == named for row in found.rows())
    # Welch and Satterthwaite's is between the smallest of the two and their sum.
    for row in found.rows():
        assert row["seconds_freedom"] <= row["variance_time_freedom"] <= 31 + row["seconds_freedom"]
    assert {(row["name"], row["unbiased"]) for row in found.layer_rows()} == {
        (name, result.unbiased) for name, result in found.results.items()
    }


F, LOGITS = problem()
LINEAR = nn.Linear(2, 2).requires_grad_(False)
REFUSED = [
    (lambda: analysis.compare(F, LOGITS, []), "there are no estimators"),
    (lambda: analysis.compare(F, LOGITS, ["rloo"]), "such as RLOO"),
    (lambda: analysis.compare(F, LOGITS, dg.RLOO(2)), r"in a list.*not RLOO\("),
    (lambda: analysis.compare(F, LOGITS, 2), "in a list.*not 2"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], truth=[0.0]), "tensor of floats.*not a list"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], truth=torch.zeros(3)), r"shape \[3\].*'logits' has \["),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], truth={"w": LOGITS}), "layers 'w', but .* 'logits'"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], truth=LOGITS * torch.nan), "not finite"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], truth=LOGITS, reference=dg.RLOO(4)), "leave out"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2), dg.DisARM()]), "different latents"),
    (lambda: analysis.compare(F, LOGITS, [dg.VIMCO(2)]), "multi-sample bound"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], replicates=10), "at least 64"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], precision=0), "precision"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], rounds=-1), "rounds"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], confidence=95), "between 0 and 1"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], reference=dg.StraightThrough()), "unbiased"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], wrt=nn.Linear(2, 2)), "no graph"),
    (lambda: analysis.compare(F, LOGITS, [dg.RLOO(2)], wrt=LINEAR), "requires_grad"),
    (lambda: analysis.compare(F, LINEAR, [dg.RLOO(2)], context=1), "belong to"),
    (lambda: analysis.compare(F, 3, [dg.RLOO(2)]), "a tensor of logits"),
    (lambda: analysis.compare(3, LOGITS, [dg.RLOO(2)]), "is no function"),
    (lambda: analysis.compare(F, LOGITS.log(), [dg.RLOO(2)]), "NaN"),
]


@pytest.mark.parametrize(("call", "sentence"), REFUSED)
def test_what_cannot_be_meant_is_refused_before_anything_is_measured(call, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_rankings_claim_what_the_numbers_say():
    numbers = {
        "a": Estimate(1.0, 0.02),
        "b": Estimate(1.05, 0.02),
        "c": Estimate(2.0, 0.04),
        "zero": Estimate(0.0, 0.0),
    }
    found = rank("variance", numbers, 0.95)
    assert list(found.numbers) == ["zero", "a", "b", "c"]
    assert found.ranks == {"zero": (1, 1), "a": (2, 3), "b": (2, 3), "c": (4, 4)}
    assert found.beats("a", "c") and not found.beats("a", "b") and not found.beats("c", "a")
    assert found.leaders == ["zero"]
    with pytest.raises(KeyError, match="not in this ranking"):
        found.beats("a", "d")
    # Holm: among many equals, a difference that a single test would call significant is none.
    two = {"a": Estimate(1.0, 0.02), "b": Estimate(1.07, 0.02)}
    assert rank("variance", two, 0.95).beats("a", "b")
    many = two | {f"equal {i}": Estimate(1.03, 0.02) for i in range(8)}
    assert not rank("variance", many, 0.95).claims


@pytest.mark.slow
def test_false_claims_are_as_rare_as_stated():
    """Six equal estimators, 100 comparisons: a false claim in 5 % of them at most (binomial test)."""
    f, logits = problem(batch=1)
    six = {f"RLOO {i}": dg.RLOO(2) for i in range(6)}
    false = sum(
        bool(analysis.compare(f, logits, six, replicates=96, seed=seed, **QUICK).ranking("variance").claims)
        for seed in range(100)
    )
    assert false <= 15  # exceeded with probability 4e-5 at a rate of 5 %


def test_the_recommendation_says_why():
    f, logits = problem()
    found = analysis.compare(f, logits, FOUR, precision=0.02, **QUICK)
    recommendation = found.recommendation
    assert recommendation.criterion == "variance_evaluations" and recommendation.numbers
    assert f"Use {recommendation.name}" in str(recommendation)
    assert "A single estimate of ST is nearer to the truth" in str(recommendation)
    assert "does not average out" in str(recommendation)
    assert recommendation.leads == (len(found.ranking().leaders) == 1)
    single = analysis.compare(f, logits, [dg.RLOO(2)], replicates=64, **QUICK)
    assert "only unbiased estimator" in str(single.recommendation)
    equal = analysis.compare(f, logits, {"a": dg.RLOO(2), "b": dg.RLOO(2)}, replicates=64, **QUICK).recommendation
    assert "nobody leads by more than noise" in str(equal) and not equal.leads
    assert equal.name == next(iter(equal.numbers)), "of equally many evaluations the least"


def timed(found, relative_error, freedom):
    """The same with times of that quality, all alike."""
    for record in found.records.values():
        record.seconds = Estimate(1e-3, relative_error * 1e-3, freedom)
    return found


def test_times_that_are_not_known_well_hide_no_variance():
    """A hundred times the variance: by few and uneven rounds nobody would beat anybody."""
    _, logits = problem()
    candidates = {"RLOO(2)": dg.RLOO(2), "RLOO(4)": dg.RLOO(4), "REINFORCE": dg.Reinforce(2)}
    found = analysis.compare(lambda points: 100 + points[..., 0].sum(-1), logits, candidates, replicates=64, **QUICK)
    assert timed(found, 0.02, 12).ranking().criterion == "variance_time"
    ranking = timed(found, 0.3, 3).ranking()
    assert not found.ranking("variance_time").beats("RLOO(4)", "REINFORCE")
    assert ranking.criterion == "variance_evaluations" and ranking.beats("RLOO(4)", "REINFORCE")
    assert "Times are not known well enough to rank by; more rounds would tell." in str(found.recommendation)
    found.criterion = "variance_evaluations"
    assert "Times are not known" not in str(found.recommendation), "nobody wants to rank by them"
    assert max(map(len, str(found).splitlines())) <= 80


def test_all_are_ranked_by_what_averaging_leaves():
    """At few estimates a biased one with little variance leads, at many its bias is all there is."""
    f, logits = problem()
    few = analysis.compare(f, logits, FOUR, precision=0.02, average=2, **QUICK)
    assert few.recommendation.name == "ST" and few.ranking().numbers.keys() == FOUR.keys()
    assert "mean squared error after averaging 2 estimates" in str(few.recommendation)
    results, many = few.results, few.ranking("mse", average=10**6)
    assert list(many.numbers)[-1] == "ST" and many.average == 10**6 and many.beats("RLOO(4)", "ST")
    for name, result in results.items():
        expected = result.variance.value / 10**6 + (0.0 if result.unbiased else result.bias2.value)
        assert many.numbers[name].value == pytest.approx(expected, rel=1e-12)
    assert few.ranking("mse", average=1).numbers["ST"] == results["ST"].mse
    assert few.ranking("variance").numbers.keys() == FOUR.keys() - {"ST"}
    with pytest.raises(ValueError, match="averaging changes no ranking by variance"):
        few.ranking("variance", average=2)
    with pytest.raises(ValueError, match="average must be an integer of at least 1"):
        analysis.compare(f, logits, FOUR, average=0)


def test_a_criterion_is_kept_and_a_truth_left_out(tmp_path):
    """The recommendation follows it, also from a file; nothing that compares with a truth is there."""
    f, logits = problem()
    arguments = {"replicates": 64, "truth": False, "path": tmp_path / "found.pt", **QUICK}
    analysis.compare(f, logits, FOUR, criterion="variance", **arguments)
    found = analysis.Comparison.load(tmp_path / "found.pt")
    assert found.recommendation.criterion == found.ranking().criterion == "variance"
    assert found.truth is None and found.truth_name == "none"
    for result in found.results.values():
        assert result.bias2 is result.mse is result.cosine is None and result.variance.value > 0
    assert analysis.compare(f, logits, FOUR, **arguments).ranking().criterion == "variance_evaluations"
    assert analysis.compare(f, logits, FOUR, **{**arguments, "truth": None}).truth_name == "enumeration"
    for wrong in ({"average": 2}, {"criterion": "mse"}):
        with pytest.raises(ValueError, match="leave out truth=False"):
            analysis.compare(f, logits, FOUR, **arguments, **wrong)
    with pytest.raises(ValueError, match="variance means nothing of the mean of 2 estimates"):
        analysis.compare(f, logits, FOUR, criterion="variance", average=2)
    with pytest.raises(ValueError, match="needs no long run"):
        analysis.compare(f, logits, FOUR, reference=dg.RLOO(4), **arguments)


def test_the_table_fits_a_terminal():
    f, logits = problem()
    names = {f"an estimator with a name that is long {i}": dg.RLOO(2 + i) for i in range(3)}
    found = analysis.compare(f, logits, {**FOUR, **names}, replicates=64, rounds=2, progress=False)
    assert max(map(len, str(found).splitlines())) <= 80


def test_recipes_are_the_same_in_every_process():
    """A resumed comparison knows its estimators by how they print themselves."""
    for name, latent in every():
        assert " at 0x" not in repr(make(name, latent, C)), name


def test_rounding_is_no_bias_and_is_not_ranked():
    """Sums over all values in float32: another order of the terms is another last bit, in every replicate."""
    weight = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(16, 1, 64, generator=torch.Generator().manual_seed(1))
    three = {"most": dg.SumAndSample(63), "sum": dg.SumAndSample(64), "all": dg.Exact(1)}
    found = analysis.compare(lambda points: 8 + (points.flatten(-2) @ weight).tanh().sum(-1), logits, three, **QUICK)
    apart = found.truth.gradient - found.records["sum"].moments.average()
    assert 0 < apart.norm() < 1e-5 * found.truth.gradient.norm()
    assert {result.bias2[:2] for result in found.results.values()} == {(0.0, 0.0)}
    assert not found.ranking("mse").claims and not found.ranking("variance").claims
    assert "Beware" not in str(found.recommendation)
