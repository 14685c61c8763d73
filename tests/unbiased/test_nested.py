"""Several stochastic layers: an inner surrogate is a legal value of an outer draw. By enumeration, in float64."""

import itertools

import pytest
import torch

import discretegrad as dg

C1, C2, V2 = 3, 2, 2


class TwoLayers:
    """z1 ~ q(logits); z2 ~ q(. | z1) with two variables; f of both, with a term that uses z1 and parameters."""

    def __init__(self):
        self.logits = torch.randn(1, C1, dtype=torch.float64, requires_grad=True)
        self.inner = torch.randn(C1, V2, C2, dtype=torch.float64, requires_grad=True)
        self.table = torch.randn(C1, C2, C2, dtype=torch.float64, requires_grad=True)
        self.parameters = (self.logits, self.inner, self.table)

    def inner_logits(self, points):
        return torch.einsum("...vc,cwd->...wd", points, self.inner)

    def f(self, points, inner_points):
        first, second = inner_points[..., 0, :], inner_points[..., 1, :]
        return torch.einsum(
            "...c,...d,...e,cde->...", points[..., 0, :].expand(*first.shape[:-1], -1), first, second, self.table
        )

    def truth(self):
        p1, p2 = self.logits.softmax(-1)[0], self.inner.softmax(-1)
        expectation = torch.einsum("c,cd,ce,cde->", p1, p2[:, 0], p2[:, 1], self.table)
        return torch.autograd.grad(expectation, self.parameters)


def enumerate_indices(coupling, logits):
    """All joint ids [S, *variables] of a draw from logits [*variables, C], with their probabilities."""
    law = coupling.law(logits.detach())
    flat = law.probabilities.reshape(-1, law.probabilities.shape[-1])
    for choice in itertools.product(range(law.outcomes.shape[0]), repeat=flat.shape[0]):
        probability = 1.0
        for v, outcome in enumerate(choice):
            probability = probability * flat[v, outcome]
        if probability > 0:
            indices = law.outcomes[list(choice)].T.reshape(-1, *logits.shape[:-1])
            yield indices, probability


def mean_gradients(model, outer, inner):
    """The mean over both layers' noise of the gradients of the nested surrogate."""
    totals = [torch.zeros_like(p) for p in model.parameters]
    categorical = dg.latent.LATENTS["categorical"]
    for ids, probability in enumerate_indices(outer.coupling, model.logits):
        points = outer.complete(dg.draw.given(model.logits, ids, categorical)).points  # the extra ones too
        inner_logits = model.inner_logits(points)  # [S1, V2, C2]
        for inner_ids, inner_probability in enumerate_indices(inner.coupling, inner_logits):
            draw = outer.complete(dg.draw.given(model.logits, ids, categorical))
            inner_draw = inner.complete(dg.draw.given(model.inner_logits(draw.points), inner_ids, categorical))
            values = model.f(draw.points, inner_draw.points)  # [S2, S1], with the extra ones of both
            loss = outer.surrogate(draw, inner.surrogate(inner_draw, values))
            gradients = torch.autograd.grad(loss, model.parameters)
            for total, gradient in zip(totals, gradients, strict=True):
                total += probability * inner_probability * gradient
    return totals


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (dg.RLOO(), dg.Reinforce()),
        (dg.DisARMTree(), dg.DisARMSB()),
        (dg.DisARMTree(tree="huffman"), dg.Reinforce()),
        # The chain at linear cost: one inner point for each outer one, the other trajectories as baseline.
        (dg.RLOO(), dg.Reinforce(baseline=dg.BatchLeaveOneOut())),
        pytest.param(dg.RLOO(3), dg.Reinforce(baseline=dg.BatchLeaveOneOut()), marks=pytest.mark.slow),
        (dg.DisARMTree(), dg.Reinforce(baseline=dg.BatchLeaveOneOut())),
        # The outer ones see the inner estimate's gradient, noise and all, in place of f's.
        (dg.MuProp(), dg.RLOO()),
        pytest.param(dg.DoubleCV(), dg.DisARMSB(), marks=pytest.mark.slow),
        pytest.param(dg.RODEO(), dg.DoubleCV(), marks=pytest.mark.slow),
        (dg.Reinforce(), dg.MuProp()),
    ],
    ids=str,
)
def test_nested_surrogates_are_unbiased_in_every_parameter(outer, inner):
    model = TwoLayers()
    for got, expected in zip(mean_gradients(model, outer, inner), model.truth(), strict=True):
        assert (got - expected).norm() < 1e-10 * expected.norm()


def test_nested_calls_in_use():
    """The two-phase API as a user writes it, with batch dimensions."""
    logits = torch.randn(5, 4, 3, requires_grad=True)
    weight = torch.randn(4, 3, 2, 6, requires_grad=True)
    outer, inner = dg.DisARMTree(), dg.RLOO(3)
    draw = outer.sample(logits)
    inner_draw = inner.sample(torch.einsum("sbvc,vcwd->sbwd", draw.points, weight))
    values = inner_draw.points.square().sum((-1, -2)) * inner_draw.points[..., 0, 0]
    loss = outer.surrogate(draw, inner.surrogate(inner_draw, values))
    assert loss.shape == (5,)
    loss.sum().backward()
    assert logits.grad.abs().sum() > 0
    assert weight.grad.abs().sum() > 0


def test_batch_leave_one_out_needs_others():
    draw = dg.Reinforce(baseline=dg.BatchLeaveOneOut()).sample(torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match="at least 2"):
        dg.Reinforce(baseline=dg.BatchLeaveOneOut()).surrogate(draw, torch.zeros(1, 1))
