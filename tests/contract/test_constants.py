"""What all values have in common leaves no trace where it cancels: neither a residue nor the rounding of its size."""

import pytest
import torch
from catalogue import every, gradient, make, sample

import discretegrad as dg

KEEPS = {"reinforce", "reinforce-3", "reinforce-running", "nvil", "nvil-unscaled", "vimco-plain"}
KEEPS |= {"rodeo-network", "rodeo-network-3", "relax-alone", "relax-alone-tied"}
KEEPS |= {"antithetic-score", "antithetic-score-descending", "antithetic-score-huffman", "quadratic"}
KEEPS |= {"sum-and-sample", "sum-and-sample-2-2", "sum-and-sample-3-2", "sum-and-sample-running"}
KEEPS |= {"unordered-1-plain", "unordered-2-plain"}
"""In which a constant has a part in every estimate, of mean zero."""

OF_ITS_OWN = {"rloo-linear", "tree-linear", "flow-linear", "disarm-linear", "flow-quadratic", "relax"}
OF_ITS_OWN |= {"rebar-2", "rebar-tied", "rebar-learned", "rebar-loo"}
"""Whose control variate has values of its own where f is constant, or a share of f's."""

CANCELS = [one for one in every() if one[0] not in KEEPS and not isinstance(make(*one), dg.Pathwise)]
MASK = torch.tensor([[True, True, False], [False, False, False], [True, False, True], [False, True, False]])


def logits_for(latent):
    return torch.randn((4, 3) if latent == "bernoulli" else (4, 3, 5))


@pytest.mark.parametrize("mask", [None, MASK], ids=["", "masked"])
@pytest.mark.parametrize(("name", "latent"), [one for one in CANCELS if one[0] not in OF_ITS_OWN])
def test_a_constant_f_has_a_gradient_of_exactly_zero(name, latent, mask):
    estimator = make(name, latent)
    draw = estimator.sample(logits_for(latent).requires_grad_(), mask=mask)
    for constant in (0.35, -1e6 / 3):
        values = (draw.points * 0).flatten(2).sum(-1) + constant
        assert torch.equal(gradient(estimator, draw, values), torch.zeros_like(draw.logits))


@pytest.mark.parametrize(("name", "latent"), CANCELS)
def test_a_large_constant_adds_no_noise(name, latent):
    """The gradient of 1e6 + bit is that of the bit up to rounding of its own size, and sums to zero as well."""
    estimator = make(name, latent)
    draw = estimator.sample(logits_for(latent).requires_grad_(), torch.Generator().manual_seed(0), MASK)
    if draw.evaluations > len(draw.indices):
        pytest.skip("f itself rounds, between the one-hots")

    def bit(points):
        return points.flatten(2)[..., 0]

    small, large = (gradient(estimator, draw, c + bit(draw.points)) for c in (0.0, 1e6))
    size = max(1.0, float(small.abs().max()))
    torch.testing.assert_close(large, small, rtol=0, atol=4e-6 * size)
    if latent == "categorical":
        assert float(large.sum(-1).abs().max()) < 4e-6 * size


@pytest.mark.parametrize("estimator", [dg.RLOO(7), dg.RLOO(8), dg.VarGrad(7)], ids=["rloo-7", "rloo-8", "var-grad-7"])
def test_adam_does_not_walk_on_a_constant(estimator):
    """A residue of one sign, however small, would be a step of the learning rate."""
    logits = torch.zeros(20, 3, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.01)
    for _ in range(20):
        optimizer.zero_grad()
        estimator(lambda points: torch.full(points.shape[:2], 0.35), logits).mean().backward()
        optimizer.step()
    assert torch.equal(logits, torch.zeros_like(logits))


def test_leave_one_out_of_a_million_and_a_bit_has_the_noise_of_the_bit():
    """The standard deviation of RLOO(64) at logit 0 is 0.25 / sqrt(63 * 64) times one of about 1.4; 0.016 before."""
    draw = sample(dg.RLOO(64, "bernoulli"), torch.zeros(4000))
    found = gradient(dg.RLOO(64, "bernoulli"), draw, 1e6 + draw.points)
    assert float(found.std()) < 0.007


@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_s_leave_one_out_of_a_million_and_a_bit(masked):
    estimator = dg.Reinforce(baseline=dg.BatchLeaveOneOut())
    mask = torch.arange(20_000).unsqueeze(-1) % 3 != 0 if masked else None
    draw = estimator.sample(torch.zeros(20_000, 1, 2).requires_grad_(), torch.Generator().manual_seed(0), mask)
    bits = draw.points[..., 0, 0]
    small, large = (gradient(estimator, draw, c + bits) for c in (0.0, 1e6))
    torch.testing.assert_close(large, small, rtol=0, atol=1e-6)
    assert torch.equal(gradient(estimator, draw, torch.full_like(bits, 0.35)), torch.zeros_like(draw.logits))


def test_an_element_that_a_mask_leaves_alone_keeps_its_value():
    """It has no others, and so no baseline: taking its own value off would bias it."""
    estimator = dg.Reinforce(baseline=dg.BatchLeaveOneOut(1))
    mask = torch.tensor([[False, True, False], [True, True, False]]).unsqueeze(-1)
    draw = estimator.sample(torch.randn(2, 3, 1, 4).requires_grad_(), mask=mask)
    values = torch.randn(1, 2, 3)
    alone = gradient(dg.Reinforce(), draw, values)
    torch.testing.assert_close(gradient(estimator, draw, values)[0], alone[0])
    assert float(alone[0, 1].abs().max()) > 0
