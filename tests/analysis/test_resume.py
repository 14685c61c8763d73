"""Comparisons that are taken up or merged: nothing counts twice, nothing that differs is taken for the same."""

import itertools
import random

import pytest
import torch
from failing import Failing
from torch import nn

import discretegrad as dg
from discretegrad import analysis
from discretegrad.analysis import measuring, replicator

QUICK = {"rounds": 0, "progress": False}
TWO = {"RLOO(2)": dg.RLOO(2), "tree": dg.DisARMTree()}
B, V, C = 4, 2, 3
SEEDED = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(B, V * C, 5, dtype=torch.float64, generator=SEEDED)
LOGITS = torch.randn(B, V, C, dtype=torch.float64, generator=SEEDED)


def f(points):
    return torch.einsum("...bi,bij->...bj", points.flatten(-2), WEIGHT).tanh().sum(-1)


def of_ids(ids):
    return f(nn.functional.one_hot(ids, C).double())


@pytest.fixture
def long_run(monkeypatch):
    """No truth by enumeration."""
    monkeypatch.setattr(analysis.sources, "ENUMERATED", 1)


def test_no_run_is_merged_twice(tmp_path):
    runs = {seed: analysis.compare(f, LOGITS, TWO, seed=seed, replicates=64, **QUICK) for seed in (1, 2, 3)}
    both = runs[1].merge(runs[2])
    both.save(tmp_path / "both.pt")
    for merged in (both, analysis.Comparison.load(tmp_path / "both.pt")):
        for again in (runs[2], runs[1], runs[2].merge(runs[3]), merged):
            with pytest.raises(ValueError, match="merge every run once"):
                merged.merge(again)
            with pytest.raises(ValueError, match="measured RLOO"):
                again.merge(merged)
    assert both.merge(runs[3]).results["tree"].replicates == 3 * 64
    # A seed counts for the estimators that were measured with it.
    other = analysis.compare(f, LOGITS, {"RLOO(8)": dg.RLOO(8)}, seed=2, replicates=64, **QUICK)
    assert list(both.merge(other).results) == [*TWO, "RLOO(8)"]


def test_long_runs_are_joined_unless_they_have_a_seed_in_common(long_run):
    one, two = (analysis.compare(f, LOGITS, TWO, seed=seed, replicates=64, **QUICK) for seed in (1, 2))
    both = one.merge(two)
    assert both.truth.moments.replicates == 128
    mean = (one.truth.gradient + two.truth.gradient) / 2
    torch.testing.assert_close(both.truth.gradient, mean)
    longer = analysis.compare(f, LOGITS, {"RLOO(8)": dg.RLOO(8)}, seed=2, replicates=256, **QUICK)
    for merged in (both.merge(longer), longer.merge(both)):
        assert torch.equal(merged.truth.gradient, longer.truth.gradient)
        assert merged.truth_name == longer.truth_name


def test_a_truth_that_is_merged_takes_back_that_there_is_none(long_run):
    def once(points):
        if len(points) % 5 == 0:
            raise RuntimeError("no fives")
        return f(points)

    arguments = {"replicates": 64, **QUICK}
    without = analysis.compare(once, LOGITS, TWO, seed=1, reference=dg.RLOO(5), **arguments)
    assert without.truth is None and "Truth: none (reference: RuntimeError: no fives)" in str(without).replace(
        "\n  ", " "
    )
    found = analysis.compare(f, LOGITS, TWO, seed=2, **arguments)
    for both in (without.merge(found), found.merge(without)):
        assert both.truth is not None and both.results["tree"].bias2 is not None
        assert "no fives" not in str(both)


def test_times_of_two_runs_are_not_mixed():
    one, two = (
        analysis.compare(f, LOGITS, {name: dg.RLOO(2)}, replicates=64, rounds=2, progress=False) for name in "ab"
    )
    both = one.merge(two)
    assert both.results["a"].seconds == one.results["a"].seconds and both.results["b"].seconds is None
    assert both.results["b"].memory == two.results["b"].memory is not None, "memory compares"
    untimed = analysis.compare(f, LOGITS, {"a": dg.RLOO(2)}, replicates=64, seed=1, **QUICK)
    assert untimed.merge(two).results["b"].seconds == two.results["b"].seconds


MASK = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
CONTEXT = torch.linspace(0, 1, B).double().unsqueeze(1)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"mask": MASK.roll(1, 0)},
        {"mask": None},
        {"context": CONTEXT + 0.01},
        {"context": None},
        {"f": of_ids, "on": "ids"},
        {"f": lambda points: f(points) + 0.01},
        {"logits": LOGITS + 0.01 * torch.eye(V, C).double()},
    ],
)
def test_a_function_of_another_problem_is_noticed(changed, tmp_path):
    arguments = {
        "f": f,
        "logits": LOGITS,
        "estimators": [dg.RLOO(2)],
        "mask": MASK,
        "context": CONTEXT,
        "path": tmp_path / "found.pt",
        "replicates": 64,
        **QUICK,
    }
    analysis.compare(**arguments)
    if changed:
        with pytest.raises(ValueError, match="another problem"):
            analysis.compare(**(arguments | changed))
    else:
        assert analysis.compare(**arguments).results["RLOO"].replicates == 64


def test_another_way_to_the_same_logits_is_noticed(tmp_path):
    raw = LOGITS.clone().requires_grad_()
    arguments = {"wrt": {"raw": raw}, "replicates": 64, "path": tmp_path / "found.pt", **QUICK}
    analysis.compare(f, raw * 1, TWO, **arguments)
    analysis.compare(f, raw * 1, TWO, **arguments)
    with pytest.raises(ValueError, match="another problem"):
        analysis.compare(f, 2 * raw - raw.detach(), TWO, **arguments)


def step_on(batch, encoder, decoder, weight=1.0, noise=0.0):
    """A training step, and the parameters behind it."""

    def step(estimator):
        logits = encoder(batch).unflatten(-1, (V, C))
        own = estimator(
            lambda points: decoder(points.flatten(-2)).squeeze(-1) * weight + noise * random.random(), logits
        )
        return own.mean()

    return step, dict(encoder.named_parameters()) | {"decoder": decoder.weight}


@pytest.fixture
def parts():
    torch.manual_seed(0)
    return torch.randn(16, 4), nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, V * C)), nn.Linear(V * C, 1)


def test_a_step_of_another_problem_is_noticed(parts, tmp_path):
    batch, encoder, decoder = parts
    arguments = {"estimators": TWO, "replicates": 64, "path": tmp_path / "found.pt", **QUICK}
    before = [parameter.clone() for parameter in encoder.parameters()]
    analysis.compare(*step_on(batch, encoder, decoder), **arguments)
    torch.manual_seed(1)
    random.seed(1)
    analysis.compare(*step_on(batch, encoder, decoder), **arguments)
    assert all(map(torch.equal, encoder.parameters(), before))
    for other in (step_on(batch.roll(1, 1), encoder, decoder), step_on(batch, encoder, decoder, weight=1.01)):
        with pytest.raises(ValueError, match="another problem"):
            analysis.compare(*other, **arguments)
    encoder.eval()
    with pytest.raises(ValueError, match="another problem"):
        analysis.compare(*step_on(batch, encoder, decoder), **arguments)


def test_batches_that_a_step_draws_are_no_other_problem(parts, tmp_path):
    """A loader that goes on between calls, and Python's generator."""
    data, encoder, decoder = parts
    batches = itertools.cycle(data.split(4))

    def step(estimator):
        own, _ = step_on(next(batches), encoder, decoder, noise=1.0)
        return own(estimator)

    arguments = {"replicates": 64, "path": tmp_path / "found.pt", **QUICK}
    analysis.compare(step, encoder, {"RLOO(2)": dg.RLOO(2)}, **arguments)
    next(batches)
    found = analysis.compare(step, encoder, TWO, **arguments)
    assert list(found.results) == list(TWO)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_on_another_machine_is_no_other_problem(dtype, parts):
    """As if every number had other last bits, with values that are large beside their differences."""
    batch, encoder, decoder = (part.to(dtype) for part in parts)
    encoder.eval()
    epsilon = torch.finfo(dtype).eps
    generator = torch.Generator().manual_seed(0)

    def otherwise(tensor):
        return tensor * (1 + epsilon * (2 * torch.rand(tensor.shape, generator=generator) - 1)).to(dtype)

    class Other(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, inputs):
            return otherwise(self.inner(inputs))

    def rounded(points):
        return otherwise(f(points.double()).to(dtype) + 100)

    one = analysis.compare(
        lambda points: f(points.double()).to(dtype) + 100, LOGITS.to(dtype), TWO, replicates=64, **QUICK
    )
    other = analysis.compare(rounded, otherwise(LOGITS.to(dtype)), TWO, replicates=64, seed=1, **QUICK)
    assert one.merge(other).results["tree"].replicates == 128
    step, wrt = step_on(batch, encoder, decoder)
    noisy = step_on(batch, Other(encoder), decoder)[0]
    one, other = (
        analysis.compare(of, wrt, TWO, replicates=64, seed=seed, **QUICK) for seed, of in enumerate((step, noisy))
    )
    assert one.merge(other).results["tree"].replicates == 128


def test_another_version_of_torch_is_written_down(monkeypatch, tmp_path):
    arguments = {"replicates": 64, "path": tmp_path / "found.pt", **QUICK}
    version = analysis.compare(f, LOGITS, TWO, **arguments).versions["torch"]
    monkeypatch.setattr(torch, "__version__", "9.9")
    for _ in range(2):
        assert analysis.compare(f, LOGITS, TWO, **arguments).versions["torch"] == [*version, "9.9"]


def test_an_estimator_that_was_trained_on_is_another(tmp_path):
    network = nn.Linear(1, 1).double()
    baseline = dg.nn.LearnedBaseline(nn.Sequential(nn.BatchNorm1d(1).double(), network))  # counts its calls
    estimators = {"learned": dg.Reinforce(1, baseline), "two": dg.Reinforce(2, baseline)}
    arguments = {"context": CONTEXT, "replicates": 64, **QUICK}
    path = tmp_path / "found.pt"
    before = analysis.compare(f, LOGITS, estimators, path=path, **arguments)
    analysis.compare(f, LOGITS, estimators, path=path, **arguments)
    with torch.no_grad():
        network.weight.add_(0.01)
    with pytest.raises(ValueError, match="trained on meanwhile"):
        analysis.compare(f, LOGITS, estimators, path=path, **arguments)
    after = analysis.compare(f, LOGITS, estimators, seed=1, **arguments)
    with pytest.raises(ValueError, match="trained on between"):
        before.merge(after)


def test_an_interrupted_long_run_goes_on_where_it_was(long_run, monkeypatch, tmp_path):
    monkeypatch.setattr(replicator, "ENTRIES", 50 * 2 * B * V * C)  # 50 replicates of two points in a call
    path, interrupted = tmp_path / "found.pt", Failing(f, KeyboardInterrupt(), at=(24, 39))
    arguments = {"precision": 0.05, "reference": dg.RLOO(2), **QUICK}
    whole = analysis.compare(f, LOGITS, TWO, **arguments)
    counts = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            analysis.compare(interrupted, LOGITS, TWO, path=path, **arguments)
        found = analysis.Comparison.load(path)
        counts.append(found.truth.moments.replicates)
        assert not found.results
    resumed = analysis.compare(interrupted, LOGITS, TWO, path=path, **arguments)
    assert 64 <= counts[0] < counts[1] < whole.truth.moments.replicates == resumed.truth.moments.replicates
    assert torch.equal(resumed.truth.gradient, whole.truth.gradient)
    assert resumed.rows() == whole.rows() and str(resumed) == str(whole)


def test_a_long_run_is_measured_on_for_more_precision(long_run, tmp_path):
    path = tmp_path / "found.pt"
    arguments = {"path": path, **QUICK}
    short = analysis.compare(f, LOGITS, TWO, replicates=128, precision=0.01, **arguments)
    assert analysis.compare(f, LOGITS, TWO, replicates=128, **arguments).truth_name == short.truth_name
    longer = analysis.compare(f, LOGITS, TWO, replicates=1024, precision=0.01, **arguments)
    assert longer.truth.moments.replicates == 1024
    assert longer.norm2.error < short.norm2.error


def test_a_file_goes_on_on_another_device(monkeypatch, tmp_path):
    """Which has a random generator more, or less, than the one it was measured on."""
    arguments = {"precision": 1e-9, "path": tmp_path / "found.pt", **QUICK}
    analysis.compare(f, LOGITS, TWO, replicates=64, **arguments)
    own = torch.Generator()
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "default_generators", lambda device: [torch.default_generator, own])
        analysis.compare(f, LOGITS, TWO, replicates=128, **arguments)
    assert own.initial_seed() != torch.Generator().initial_seed(), "it was not seeded"
    found = analysis.compare(f, LOGITS, TWO, replicates=192, **arguments)
    at_once = analysis.compare(f, LOGITS, TWO, replicates=64, **(arguments | {"path": None}))
    for name, result in found.results.items():
        assert result.replicates == 192 and result.variance != at_once.results[name].variance


def test_another_reference_is_refused(long_run, tmp_path):
    path = tmp_path / "found.pt"
    arguments = {"replicates": 128, "precision": 0.01, "path": path, **QUICK}
    analysis.compare(f, LOGITS, TWO, reference=dg.RLOO(5), **arguments)
    with pytest.raises(ValueError, match=r"num_samples=5.*not of RLOO.*num_samples=6"):
        analysis.compare(f, LOGITS, TWO, reference=dg.RLOO(6), **arguments)
    with pytest.raises(ValueError, match="give it as the reference"):
        analysis.compare(f, LOGITS, TWO, **(arguments | {"replicates": 256}))
    found = analysis.compare(f, LOGITS, TWO, **arguments)  # long enough for what is asked
    assert found.truth_name == "128 replicates of reference"
    more = analysis.compare(f, LOGITS, TWO, reference=dg.RLOO(5), **(arguments | {"replicates": 256}))
    assert more.truth_name == "256 replicates of reference"


def test_times_are_of_one_sitting(monkeypatch, tmp_path):
    sittings = []

    def in_turns(calls, rounds, device):
        sittings.append(len(calls))
        return [replicator.Estimate(len(sittings), 0.0)] * len(calls)

    monkeypatch.setattr(measuring, "in_turns", in_turns)
    arguments = {"replicates": 64, "progress": False, "path": tmp_path / "found.pt"}
    three = {**TWO, "RLOO(4)": dg.RLOO(4)}

    def seconds(estimators):
        found = analysis.compare(f, LOGITS, estimators, **arguments)
        return {name: one.seconds and one.seconds.value for name, one in found.results.items()}

    assert seconds(TWO) == dict.fromkeys(TWO, 1)
    assert seconds(TWO) == dict.fromkeys(TWO, 1), "what had a time was timed again"
    assert seconds(three) == dict.fromkeys(three, 2)
    assert seconds({"ST": dg.StraightThrough()}) == {**dict.fromkeys(three), "ST": 3}
    assert seconds({"tree": TWO["tree"], "ST": dg.StraightThrough()}) == {**dict.fromkeys(three), "tree": 4, "ST": 4}
    assert sittings == [2, 3, 1, 2]


def test_notes_are_written_once(tmp_path):
    def random_f(points):
        return f(points) + torch.rand(())

    def infinite(points):
        return f(points).masked_fill(points[..., 0, 0] == 1, torch.inf)

    for number, one in enumerate((random_f, infinite)):
        arguments = {"replicates": 64, "path": tmp_path / f"{number}.pt", **QUICK}
        notes = analysis.compare(one, LOGITS, [dg.RLOO(2)], **arguments).notes
        assert len(notes) == 1
        assert analysis.compare(one, LOGITS, [dg.RLOO(2)], **arguments).notes == notes


def test_files_of_an_earlier_format_are_refused(tmp_path):
    path = tmp_path / "found.pt"
    found = analysis.compare(f, LOGITS, TWO, replicates=64, path=path, **QUICK)
    torch.save(found.state() | {"format": 2}, path)
    with pytest.raises(ValueError, match="has format 2, but this version reads"):
        analysis.Comparison.load(path)
