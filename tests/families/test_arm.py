"""ARM: its published formula, what it has to do with DisARM, wrong variants."""

from dataclasses import dataclass

import pytest
import torch
from catalogue import gradient, relative_bias, sample, table_function

import discretegrad as dg
from discretegrad.coupling.mirrored import MIRRORED, MirroredBits, mirrored_cells


@pytest.mark.parametrize("pairs", [1, 3])
def test_arm_is_its_published_formula(pairs):
    """(f(1[u > s(-a)]) - f(1[u < s(a)])) (u - 1/2)."""
    logits, weight = torch.randn(200, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)

    def f(points):
        return (points * weight).sum(-1).exp()

    draw = sample(dg.ARM(pairs), logits)
    got = gradient(dg.ARM(pairs), draw, f(draw.points))
    u = draw.drawn.uniforms
    first, second = (u > torch.sigmoid(-logits)).double(), (u < torch.sigmoid(logits)).double()
    expected = ((f(first) - f(second)).unsqueeze(-1) * (u - 0.5)).mean(0)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_disarm_is_the_mean_of_arm_given_the_pair():
    """In every cell of u, by its quadrature, which is exact for linear functions."""
    logits = torch.randn(50, 1, dtype=torch.float64, requires_grad=True)
    _, nodes = mirrored_cells(torch.stack((torch.sigmoid(-logits.detach()), torch.sigmoid(logits.detach())), -1))
    values = torch.randn(2, 50, dtype=torch.float64)
    bernoulli, coupling = dg.latent.LATENTS["bernoulli"], dg.ARM().coupling
    category_logits = bernoulli.category_logits(logits.detach())
    for cell, pair in enumerate(MIRRORED[:4]):
        indices = torch.tensor(pair).reshape(2, 1, 1).expand(2, 50, 1)
        of_arm = [
            gradient(dg.ARM(), dg.Draw(logits, bits, bernoulli), values)
            for u in nodes[..., [cell, cell + 4]].movedim(-1, 0).unsqueeze(1)
            for bits in (MirroredBits(indices, category_logits, None, coupling, u),)
        ]
        of_disarm = torch.autograd.grad(dg.functional.disarm(logits, indices, values).sum(), logits)[0]
        torch.testing.assert_close(sum(of_arm) / 2, of_disarm, rtol=1e-11, atol=1e-14)


def test_disarm_never_has_more_variance_than_arm():
    for variables in (1, 2, 3):
        f, logits = table_function(variables, 2), torch.randn(variables, dtype=torch.float64)
        arm, disarm = (dg.exact.moments(e, f, logits).total_variance for e in (dg.ARM(), dg.DisARM()))
        assert disarm < arm


@dataclass(frozen=True)
class MirroredNoise(dg.UniformScore):
    """ARM with the uniform of the other point."""

    def gradient(self, drawn, values, centred=False):
        other = MirroredBits(drawn.indices, drawn.logits, None, drawn.coupling, 1 - drawn.uniforms)
        return super().gradient(other, values)


def test_arm_with_the_wrong_uniform_fails():
    f, logits = table_function(2, 2), torch.randn(2, dtype=torch.float64)
    wrong = dg.Composition(dg.MirroredUniforms(), MirroredNoise(), latent="bernoulli")
    assert relative_bias(wrong, f, logits) > 0.05


IDS = dg.functional.draw(torch.zeros(3), torch.ones(2, 3).long(), "bernoulli")
"""Without their uniforms."""


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (
            lambda: dg.ARM().surrogate(
                dg.functional.draw(torch.zeros(3), torch.ones(2, 3).long(), "bernoulli"), torch.zeros(2)
            ),
            "needs the noise that its points were made from",
        ),
        (lambda: dg.ARM(0), "num_pairs must be an integer"),
        (lambda: dg.Composition(dg.MirroredUniforms(), dg.UniformScore()).sample(torch.zeros(3)), "draws bits"),
        (lambda: dg.Composition(dg.Antithetic(), dg.UniformScore()), r"use coupling=MirroredUniforms\(\)"),
    ],
)
def test_refusals(build, match):
    with pytest.raises(ValueError, match=match):
        build()
