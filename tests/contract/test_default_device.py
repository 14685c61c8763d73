"""Tensors follow those that they are made from, whatever the default device is; nothing of a call outlives it."""

import ast
from pathlib import Path

import pytest
import torch
from catalogue import every, make

import discretegrad as dg

FACTORIES = ("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm", "tensor")
FACTORIES += ("tril_indices", "triu_indices", "zeros")
OTHERS = ("fused", "reference")


def step(estimator, latent, mask):
    """Everything that a draw is asked for, of logits on the CPU."""
    shape = (4, 3) if latent == "bernoulli" else (4, 3, 5)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(1), device="cpu").requires_grad_()
    draw = estimator.sample(logits, torch.Generator().manual_seed(2), mask)
    values = draw.points.square().flatten(2).sum(-1) + draw.points.flatten(2)[..., 0]
    loss = estimator.surrogate(draw, values)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return draw.indices, draw.points.detach(), loss.detach(), gradient


@pytest.mark.parametrize("implementation", ["native", *(pytest.param(i, marks=pytest.mark.slow) for i in OTHERS)])
def test_the_default_device_does_not_matter(implementation):
    """What is kept for the next call is first made where the default device is another."""
    for build in (
        dg.ops.tree.fused.heap,
        dg.ops.tree.fused.counted,
        dg.ops.tree.fused.behind,
        dg.ops.tree.native.nodes,
    ):
        build.cache_clear()
    for cached in (dg.ops.inverse_cdf.fused.row_starts, dg.ops.score.fused.unit_matrix, dg.ops.tree.topology._topology):
        cached.cache_clear()
    mask = torch.rand(4, 3) < 0.7
    for name, latent in every():
        estimator = make(name, latent)
        for where in (None, mask):
            with dg.ops.using(implementation):
                with torch.device("meta"):
                    found = step(estimator, latent, where)
                for one, other in zip(found, step(estimator, latent, where), strict=True):
                    assert one.device.type == "cpu", name
                    assert torch.equal(one, other), name


def test_laws_follow_their_logits():
    logits = torch.tensor([[0.3, -0.2, 0.5]])
    for coupling in (dg.Independent(2), dg.Tree(), dg.Alternatives(1), dg.TopAndRest(2, 2), dg.WithoutReplacement(2)):
        with torch.device("meta"):
            law = coupling.law(logits)
        assert law.probabilities.device.type == law.outcomes.device.type == "cpu"


def test_every_tensor_of_the_operations_says_where_it_is():
    """Parameters and buffers of modules are where the user wants new ones; all else says so."""
    found = []
    for path in Path(dg.__file__).parent.rglob("*.py"):
        if path.parent.name == "nn":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, named = node.func.value, {keyword.arg for keyword in node.keywords}
            of_torch = isinstance(owner, ast.Name) and owner.id == "torch" and node.func.attr in FACTORIES
            if of_torch and not named & {"device", None}:  # None: they come in a dictionary
                found.append(f"{path.name}:{node.lineno}")
    assert not found
