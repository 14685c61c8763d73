"""Equal joint points are evaluated once, and only equal ones."""

import itertools

import pytest
import torch
from catalogue import SWAPPERS, gradient, sample

import discretegrad as dg
from discretegrad.coupling import merged
from discretegrad.ops import distinct as distinct_ops


@pytest.mark.parametrize("name", list(SWAPPERS))
def test_equal_points_are_evaluated_once(name):
    """The same noise: the same joint points as sets, each once, and the same value and gradient."""
    logits = 2 * torch.randn(3, 30, 2, 2, 4, dtype=torch.float64)
    logits[0] *= 10
    every, once = SWAPPERS[name](event_dims=2, distinct=False), SWAPPERS[name](event_dims=2, distinct=True)
    all_points, points = sample(every, logits), sample(once, logits)
    assert all_points.distinct is None
    assert points.evaluations == points.distinct.max()
    assert points.distinct[0].max() < all_points.evaluations  # as concentrated as these are
    for a, b in itertools.product(range(3), range(30)):
        expected = {tuple(ids) for ids in all_points.indices[:, a, b].flatten(1).tolist()}
        found = [tuple(ids) for ids in points.indices[: points.distinct[a, b], a, b].flatten(1).tolist()]
        assert len(found) == len(expected)
        assert set(found) == expected
    weight = torch.randn(2, 2, 4, dtype=torch.float64)

    def f(draw):
        return (draw.points * weight).sum((-1, -2, -3)).exp()

    values = f(points)
    torch.testing.assert_close(once.surrogate(points, values), every.surrogate(all_points, f(all_points)))
    expected = gradient(every, all_points, f(all_points))
    torch.testing.assert_close(gradient(once, points, values), expected, rtol=1e-11, atol=1e-13)
    behind = torch.arange(points.evaluations)[:, None, None] >= points.distinct
    assert behind.any()
    values = torch.where(behind, torch.nan, values)
    torch.testing.assert_close(gradient(once, points, values), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("coupling", "weights", "control_variate"),
    [
        (dg.Independent(4), dg.Score(), dg.LeaveOneOut()),
        (dg.Tree(num_pairs=2), dg.RaoBlackwell(), None),
        (dg.TopAndRest(1, 3), dg.Score(), None),
    ],
)
def test_any_coupling_can_be_wrapped(coupling, weights, control_variate):
    """The same points, equal ones evaluated once: the same value and gradient."""
    logits, weight = 3 * torch.randn(30, 2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    every, once = (dg.Composition(one, weights, control_variate) for one in (coupling, dg.Distinct(coupling)))
    all_points, points = sample(every, logits), sample(once, logits)
    assert points.distinct.min() < all_points.evaluations
    values = [(draw.points * weight).sum((-1, -2)).exp() for draw in (all_points, points)]
    torch.testing.assert_close(once.surrogate(points, values[1]), every.surrogate(all_points, values[0]))
    torch.testing.assert_close(gradient(once, points, values[1]), gradient(every, all_points, values[0]))
    assert once.unbiased


def test_distinct_points_of_local_values():
    """Values with dimensions behind those that were compared."""
    logits = torch.randn(20, 3, 4, dtype=torch.float64)
    table = torch.randn(3, 4, dtype=torch.float64)
    results = []
    for distinct in (False, True):
        estimator = dg.ARSM(distinct=distinct)
        draw = sample(estimator, logits)
        results.append(gradient(estimator, draw, (draw.points * table).sum(-1) ** 3))
    torch.testing.assert_close(*results, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("event_dims", [0, 1, 2])
def test_points_whose_hashes_collide_are_not_merged(event_dims, monkeypatch):
    indices = torch.randint(2, (12, 5, 2, 3))
    shape = (12, *indices.shape[1 : 4 - event_dims])
    for collide in (False, True):
        if collide:
            monkeypatch.setattr(distinct_ops.reference, "_multipliers", lambda n, _: torch.zeros(n, dtype=torch.int64))
        chosen, point_of = distinct_ops.distinct(indices, event_dims)
        assert point_of.shape == shape
        assert chosen.shape[0] == point_of.max() + 1
        assert torch.equal(merged._take(merged._take(indices, chosen), point_of), indices)


def test_points_merged_wrongly_are_noticed(monkeypatch):
    """Negative control of the tests above: only the first variable is compared."""
    logits, weight = torch.randn(30, 3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    results = []
    for wrong in (False, True):
        if wrong:
            monkeypatch.setattr(merged, "distinct", lambda ids, dims: distinct_ops.distinct(ids[..., :1], dims))
        draw = sample(dg.ARSM(), logits)
        results.append(gradient(dg.ARSM(), draw, (draw.points * weight).sum((-1, -2)).exp()))
    assert not torch.allclose(*results, rtol=0.01)


def test_distinct_points_need_numbers_that_can_be_read():
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="use distinct=False"):
        torch.func.vmap(lambda _: dg.ARSM().sample(logits).indices, randomness="different")(torch.arange(3))
    with pytest.raises(ValueError, match="use distinct=False"):
        dg.ARSM().sample(logits.to("meta"))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch.compile looks at it between graphs
def test_distinct_points_compile_with_a_break_in_the_graph(monkeypatch):
    monkeypatch.setattr("discretegrad.ops.noise.library", lambda dtype: None)  # torch's noise, as where it compiles
    logits = torch.randn(5, 3, 4)

    def step(x):
        return dg.ARSM()(lambda points: points.cumsum(-1).square().sum((-1, -2)), x).sum()

    torch._dynamo.reset()
    results = []
    for function in (step, torch.compile(step, backend="eager")):
        torch.manual_seed(1)
        part = logits.clone().requires_grad_()
        results.append(torch.autograd.grad(function(part), part)[0])
    torch.testing.assert_close(*results)


def test_a_control_variate_that_asks_for_more_points_needs_all_of_them():
    class Asking(dg.nn.RunningMean):
        needs_grad_f = True

    with pytest.raises(ValueError, match="use distinct=False"):
        dg.Composition(dg.Distinct(dg.Swaps()), dg.Score(), Asking())
