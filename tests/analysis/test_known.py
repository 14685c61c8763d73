"""Which functions may be called for several replicates at once, and that others are not, whoever measures."""

import math

import pytest
import torch
from catalogue import drawn_where
from torch import nn

import discretegrad as dg
from discretegrad import analysis
from discretegrad.analysis.estimate import mean
from discretegrad.analysis.known import UNKNOWN, sentence
from discretegrad.analysis.replicator import Problem

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
QUICK = {"rounds": 0, "progress": False}
SHARP = torch.tensor([50.0, 0.0, 0.0, 0.0]).expand(1, 6, 4)
"""Logits with one category left."""


def network(*layers):
    """A function of 6 variables of 4 categories."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(24, 300), nn.Tanh(), *layers, nn.Linear(300, 700))

    def f(points):
        dtype = body[0].weight.dtype
        out = nn.functional.logsigmoid(body(points.to(dtype).flatten(2).flatten(0, 1)))
        return out.sum(-1, dtype=torch.promote_types(dtype, torch.float32)).unflatten(0, points.shape[:2])

    return f, body


def seen(f, logits):
    return Problem(f, logits).look("categorical")


@pytest.mark.parametrize(("dtype", "batch", "offset"), drawn_where(DTYPES, [1, 100, 1000], [0.0, 1e4]))
def test_rounding_is_not_taken_for_mixing(batch, offset, dtype):
    """Sums of 300 and 700 terms, which calls of other sizes add up in another order."""
    _, body = network(nn.Linear(300, 300), nn.Tanh())
    first, second, third = (layer.to(dtype) for layer in body if isinstance(layer, nn.Linear))
    differences = []

    def f(points):
        order = torch.randperm(300, generator=torch.Generator().manual_seed(len(points)))
        hidden = first(points.to(dtype).flatten(2)).tanh()[..., order]
        hidden = (hidden @ second.weight[:, order].T).tanh()[..., order]
        out = nn.functional.logsigmoid(hidden @ third.weight[:, order].T)
        values = out.sum(-1, dtype=torch.promote_types(dtype, torch.float32)) + offset
        differences.append(values[:2])
        return values

    for logits in (torch.randn(batch, 6, 4), SHARP.expand(batch, 6, 4)):
        assert seen(f, logits) == UNKNOWN
    alone, *among = differences[:3]
    assert batch == 1 or not all(torch.equal(alone, other) for other in among)


@pytest.mark.parametrize(("dtype", "batch", "offset"), drawn_where(DTYPES, [2, 100, 1000], [0.0, 1e4]))
def test_batch_normalisation_in_training_is_mixing(batch, offset, dtype):
    f, body = network(nn.BatchNorm1d(300))
    body.to(dtype)
    for logits in (torch.randn(batch, 6, 4), SHARP.expand(batch, 6, 4)):
        shifted = lambda points: f(points) + offset  # noqa: E731
        body.train()
        assert "mixes" in seen(shifted, logits).alone
        body.eval()
        assert seen(shifted, logits).alone is None


MIXING = {
    "centred over the points": lambda points: points[..., 0].sum(-1) - points[..., 0].sum(-1).mean(0),
    "over the whole call": lambda points: points[..., 0].sum(-1) * points[..., 1].mean(),
    "the next point": lambda points: points[..., 0].sum(-1) * points[..., 1].sum(-1).roll(1, 0),
}
LOGITS = torch.tensor([[0.5, 0.0, -0.5, 0.0]]).expand(5, 3, 4)


@pytest.mark.parametrize("mixing", list(MIXING))
@pytest.mark.parametrize("measure", ["compare", "auto", "monitor"])
def test_a_mixing_f_is_called_for_one_replicate_at_a_time(measure, mixing):
    sizes = []

    def f(points):
        sizes.append(len(points))
        return MIXING[mixing](points)

    if measure == "compare":
        found = analysis.compare(f, LOGITS, [dg.RLOO(3)], replicates=64, **QUICK)
        assert "f mixes the points of a call" in " ".join(found.notes)
        assert "replicates of RLOO" in found.truth_name
    elif measure == "auto":
        with pytest.raises(ValueError, match=r"no estimator is unbiased\. None is recommended; put f into eval\(\)"):
            dg.Auto([dg.RLOO(3)], replicates=64, rounds=1)(f, LOGITS)
        return
    else:
        monitor = analysis.Monitor(every=1)
        for _ in range(2):
            monitor.after(dg.RLOO(3), f, LOGITS)
        assert "no estimator is unbiased. None is recommended" in " ".join(str(monitor).split())
    assert sizes.count(3) >= 16
    assert {size for size in sizes if size > 4} == set()


def test_a_comparison_of_a_mixing_f_has_numbers_and_no_recommendation(tmp_path):
    """Also once it was saved and loaded, and merged with others."""
    candidates = [dg.RLOO(3), dg.DisARMTree(2)]
    found = analysis.compare(
        MIXING["over the whole call"], LOGITS, candidates, replicates=64, path=tmp_path / "found.pt", **QUICK
    )
    again = analysis.compare(MIXING["over the whole call"], LOGITS, candidates, replicates=64, seed=1, **QUICK)
    for one in (found, analysis.Comparison.load(tmp_path / "found.pt"), found.merge(again)):
        assert all(result.variance.value > 0 for result in one.results.values())
        assert one.recommendation.name is None
        assert not one.recommendation.leads
        assert one.recommendation.numbers == {}
        assert "no estimator is unbiased" in one.recommendation.sentence
        assert "Use " not in str(one)
        assert "None is recommended" in " ".join(str(one).split())


@pytest.mark.parametrize("measure", ["auto", pytest.param("monitor", marks=pytest.mark.slow)])
def test_variances_of_a_random_f_are_those_of_single_calls(measure):
    """Noise of a call is then not common to the replicates. Within 5 standard errors of at most 6 %."""
    alone = lambda points: points[..., 0].sum(-1)  # noqa: E731
    f = lambda points: alone(points) + 10 * torch.randn(())  # noqa: E731
    estimator, logits = dg.Reinforce(1), LOGITS.double()
    # The score of a variable has the mean square 1 - sum p^2, whatever f is.
    exact = 5 * dg.exact.moments(estimator, alone, logits[0]).total_variance
    exact += 100 * (1 - logits.softmax(-1).square().sum(-1)).sum()
    if measure == "auto":
        (result,) = dg.Auto([estimator], replicates=2048, rounds=0)(f, logits).comparison.results.values()
        variance = result.variance
    else:
        monitor = analysis.Monitor(every=1, replicates=8)
        for _ in range(256):
            torch.rand(100)  # as the next step's numbers; else all rows had the same
            monitor.after(estimator, f, logits)
        variance = mean(torch.tensor([row["variance"] for row in monitor.rows]))
    assert variance.error < 0.06 * exact
    assert abs(variance.value - exact) < 5 * variance.error


def test_a_monitor_looks_at_f_once():
    sizes = []

    def f(points):
        sizes.append(len(points))
        return points[..., 0].sum(-1)

    monitor = analysis.Monitor(every=1, replicates=8)
    for _ in range(3):
        monitor.after(dg.RLOO(3), f, LOGITS)
    assert sizes == [2, 3, 4, 3, 21, 3, 21, 3, 21]


def test_an_f_that_differentiates_is_measured_as_any_other():
    """The squared norm of an energy's gradient, w.r.t. the points and w.r.t. parameters, and the same by hand."""
    weight = nn.Parameter(torch.randn(12, dtype=torch.float64))

    def by_autograd(points):
        points = points.detach().requires_grad_()
        energy = (points.flatten(2) @ weight).square().sum()
        (force,) = torch.autograd.grad(energy, points, create_graph=True)
        return force.square().sum((-1, -2))

    def by_hand(points):
        return (2 * points.flatten(2) @ weight).square() * weight.square().sum()

    logits = LOGITS.double()
    found, expected = (
        analysis.compare(f, logits, [dg.RLOO(2), dg.DisARMTree()], replicates=128, **QUICK)
        for f in (by_autograd, by_hand)
    )
    assert found.truth_name == "enumeration" and not found.failures and not found.notes
    assert torch.allclose(found.signature, expected.signature)
    for name, result in found.results.items():
        assert math.isclose(result.variance.value, expected.results[name].variance.value, rel_tol=1e-9)
    choice = dg.Auto([dg.RLOO(2)], replicates=64, rounds=1)(by_autograd, logits)
    assert not choice.comparison.failures
    monitor = analysis.Monitor(every=1)
    monitor.after(dg.RLOO(2), by_autograd, logits)
    assert monitor.rows[0]["variance"] > 0


def test_an_f_for_one_number_of_points_is_measured():
    def f(points):
        assert len(points) == 3, "three points only"
        return points[..., 0].sum(-1)

    found = analysis.compare(f, LOGITS, [dg.RLOO(3), dg.RLOO(4)], replicates=64, **QUICK)
    assert found.results["RLOO"].replicates == 64
    assert "three points only" in found.failures["RLOO (2)"]
    assert "f fails at 2 points, or at 4 in a call (AssertionError: three points only" in found.notes[0]


class OfOneBatch(nn.Module):
    """A baseline with a number for each element of one batch."""

    def __init__(self):
        super().__init__()
        self.each = nn.Parameter(torch.arange(5.0))

    def forward(self, context):
        return context.flatten(1)[:, 0] + self.each


@pytest.mark.parametrize("measure", ["compare", "auto", "monitor"])
def test_what_a_baseline_holds_of_one_batch_is_measured_one_by_one(measure):
    estimator = dg.Reinforce(1, dg.nn.LearnedBaseline(OfOneBatch()))
    f = lambda points: points[..., 0].sum(-1)  # noqa: E731
    problem = Problem(f, LOGITS)
    one = problem.gradient(estimator)
    assert problem.together(estimator, one) > 1
    with pytest.raises(RuntimeError, match="size of tensor"):
        problem.gradient(estimator, 2, one.batch_dims)
    if measure == "compare":
        found = analysis.compare(f, LOGITS, [estimator], replicates=64, **QUICK)
        assert not found.failures and found.results["Reinforce"].replicates == 64
    elif measure == "auto":
        assert not dg.Auto([estimator], replicates=64, rounds=1)(f, LOGITS).comparison.failures
    else:
        monitor = analysis.Monitor(every=1, replicates=8)
        monitor.after(estimator, f, LOGITS)
        assert monitor.rows[0]["replicates"] == 8


def test_batch_normalisation_in_a_control_variate_is_mixing():
    network = nn.Sequential(
        nn.Linear(12, 8), nn.Flatten(0, 1), nn.BatchNorm1d(8), nn.Linear(8, 1), nn.Unflatten(0, (-1, 5))
    )
    estimator = dg.RELAX(network)
    problem = Problem(lambda points: points[..., 0].sum(-1), LOGITS)
    one = problem.gradient(estimator)
    assert problem.together(estimator, one) == 1
    network.eval()
    assert problem.together(estimator, one) > 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (IndexError(), "IndexError"),
        (ValueError("too many values\nto unpack"), "ValueError: too many values to unpack"),
        (RuntimeError("out of memory."), "RuntimeError: out of memory."),
        (ValueError("logits hold NaN; look for a division by zero."), "logits hold NaN; look for a division by zero."),
    ],
)
def test_an_error_is_said_in_one_line_that_tells_what_it_is(error, expected):
    assert sentence(error) == expected
