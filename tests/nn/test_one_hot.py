"""`functional.one_hot`: every biased path by its name, in the place of `torch.nn.functional.gumbel_softmax`."""

import pytest
import torch
import torch.nn.functional as F

import discretegrad as dg
from discretegrad.functional import PATHS, one_hot


def seeded():
    return torch.Generator().manual_seed(0)


def test_every_path_has_its_name():
    made = {name: kind() for name, kind in dg.ESTIMATORS.items()}
    assert set(PATHS) == {name for name, estimator in made.items() if isinstance(estimator, dg.Pathwise)}


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize("method", PATHS)
def test_it_is_the_estimator_without_its_phases(method, latent):
    """Points and gradients, of one point and of several, with a mask."""
    shape = (5, 3) if latent == "bernoulli" else (5, 3, 4)
    logits = torch.randn(shape, requires_grad=True)
    mask = torch.tensor([True, False, True])
    weight = torch.randn(shape)
    for count in (None, 2):
        if count is not None and method == "argmax_st":
            continue
        sizes = {} if count is None else {"num_samples": count}
        hard = {"hard": True} if method == "gumbel_softmax" else {}
        got = one_hot(logits, method, generator=seeded(), mask=mask, num_samples=count, latent=latent)
        expected = PATHS[method](latent=latent, **sizes, **hard).sample(logits, seeded(), mask).points
        expected = expected[0] if count is None else expected
        assert got.shape == ((count, *shape) if count else shape)
        assert torch.equal(got, expected)
        assert ((got == 0) | (got == 1)).all()
        for one, other in zip(*(torch.autograd.grad((p * weight).sum(), logits) for p in (got, expected)), strict=True):
            assert torch.equal(one, other)
            assert one.abs().sum() > 0 or method == "imle"  # whose step may change no state


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
def test_categories_in_any_dimension(dim):
    """The same noise in the same order of variables: that of the logits with their categories last."""
    logits = torch.randn(5, 3, 4, requires_grad=True)
    moved = logits.detach().movedim(-1, dim).requires_grad_()
    mask = torch.rand(5, 3) < 0.7
    for count in (None, 2):
        expected = one_hot(logits, generator=seeded(), mask=mask, num_samples=count)
        got = one_hot(moved, dim=dim, generator=seeded(), mask=mask, num_samples=count)
        place = dim if dim < 0 or count is None else dim + 1
        assert torch.equal(got, expected.movedim(-1, place))
        (one,) = torch.autograd.grad(got.square().sum(), moved)
        (other,) = torch.autograd.grad(expected.square().sum(), logits)
        torch.testing.assert_close(one, other.movedim(-1, dim))


@pytest.mark.parametrize("hard", [False, True])
def test_it_has_the_law_of_torch_s_own(hard):
    """Of Gumbel-softmax at a temperature, with the categories in dimension 1: means and their gradients."""
    found = []
    for function in (F.gumbel_softmax, lambda x, **kw: one_hot(x, "gumbel_softmax", **kw)):
        logits = torch.tensor([0.5, -1.0, 1.0], dtype=torch.float64).reshape(1, 3, 1).expand(1, 3, 40_000).clone()
        points = function(logits.requires_grad_(), tau=0.7, hard=hard, dim=1)
        (gradient,) = torch.autograd.grad(points.square().sum(), logits)
        found.append(torch.cat((points.detach(), gradient))[:, :2].flatten(0, 1))
    miss = found[0].mean(-1) - found[1].mean(-1)
    error = (sum(one.var(-1) for one in found) / 40_000).sqrt()
    assert (miss.abs() < 5.5 * error).all()  # wrong in one of a million runs at most


def test_any_network_trains_by_it():
    """Without two phases: a loss of the points of two layers reaches the first logits."""
    logits = torch.randn(6, 3, 4, requires_grad=True)
    first = one_hot(logits, "straight_through", tau=torch.tensor([0.5, 1.0, 2.0]))
    second = one_hot(first @ torch.randn(4, 5), "gapped_st", gap=0.5)
    second[..., 0].sum().backward()
    assert logits.grad.abs().sum() > 0


def test_compiles_without_graph_breaks(monkeypatch):
    """The estimator is made while torch.compile traces; neither values of a temperature nor batch sizes break it."""
    monkeypatch.setattr("discretegrad.ops.noise.library", lambda dtype: None)  # torch's noise, as where it compiles
    logits = torch.randn(3, 4, 2)

    def step(x, tau):
        return one_hot(x, "gumbel_softmax", tau=tau, dim=1).square().sum() + one_hot(x, "reinmax", dim=1).cos().sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    for batch, tau in ((3, 0.5), (2, 0.7)):
        results = []
        for function in (step, compiled):
            torch.manual_seed(1)
            part = logits[:batch].clone().requires_grad_()
            results.append(torch.autograd.grad(function(part, torch.tensor(tau)), part)[0])
        torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: one_hot(x, "rloo"), "method is one of 'straight_through'"),
        (lambda x: one_hot(x, "reinmax", hard=False), "hard=False is for 'gumbel_softmax' only"),
        (lambda x: one_hot(x, "imle", tau=0.5), "'imle' has no temperature; its settings are step"),
        (lambda x: one_hot(x, "argmax_st", num_samples=2), "'argmax_st' has no num_samples"),
        (lambda x: one_hot(x, "reinmax", num_rao=2), "'reinmax' has no num_rao"),
        (lambda x: one_hot(x, tau=-1.0), "temperature must be positive"),
        (lambda x: one_hot(x, dim=3), "categories are in dim=3"),
        (lambda x: one_hot(x, dim="1"), "categories are in dim='1'"),
        (lambda x: one_hot(x, num_samples=0), "num_samples must be an integer"),
        (lambda x: one_hot(x, latent="gaussian"), "latent is one of"),
        (lambda x: one_hot(x.long()), "floating-point"),
        (lambda x: one_hot(x.tolist(), dim=1), "floating-point"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call(torch.zeros(5, 3, 4))
