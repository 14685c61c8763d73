"""REBAR and RELAX: published formulas, the noise integrated on a grid, and what happens where they are wrong."""

import dataclasses

import numpy as np
import pytest
import torch
from calibration import assert_law, assert_mean, draws_to_detect
from catalogue import Waves, logits_of, table_function

import discretegrad as dg
from discretegrad.control_variate.relaxed import Perturbation
from discretegrad.latent import LATENTS
from discretegrad.ops import relaxation as relaxation_ops

COMPARISONS = 30


def problem(latent, batch=50):
    tail = (3,) if latent == "bernoulli" else (3, 4)
    weight = torch.randn(tail, dtype=torch.float64)
    logits = torch.randn(batch, *tail, dtype=torch.float64, requires_grad=True)
    return logits, lambda points: (points * weight).flatten(-len(tail)).sum(-1).sin() + 0.5


def gradient(loss, logits):
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_rebar_with_scale_zero_is_reinforce(latent, points):
    logits, f = problem(latent)
    got, expected = (
        gradient(estimator(f, logits, torch.Generator().manual_seed(1)), logits)
        for estimator in (dg.REBAR(0.5, 0.0, points, latent=latent), dg.Reinforce(points, latent=latent))
    )
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("tied", [False, True])
def test_bernoulli_rebar_is_its_published_formula(tied):
    """z = logit(theta) + logit(u), b = H(z); z~ from v' = v theta + 1 - theta or v (1 - theta): by autograd."""
    logits, f = problem("bernoulli")
    eta, temperature = 0.8, 0.6
    estimator = dg.REBAR(temperature, eta, tied=tied, latent="bernoulli")
    draw = estimator.sample(logits)
    got = gradient(estimator.surrogate(draw, f(draw.points)), logits)
    made, b = draw.added, draw.indices[0].double()
    theta = logits.sigmoid()
    z_free = made.logits[0, ..., 1] - made.logits[0, ..., 0]
    u = (z_free - logits.detach()).sigmoid()
    ratio = (made.log_noise[-1, ..., 0] - made.log_noise[-1, ..., 1]).exp()  # E_0 / E_1
    v = ratio / (1 + ratio)
    z = logits + u.logit()
    assert torch.equal((z > 0).double(), b)
    v_prime = b * (v * theta + 1 - theta) + (1 - b) * v * (1 - theta)
    z_tilde = logits + v_prime.logit()
    assert torch.equal((z_tilde > 0).double(), b)
    relaxed, conditional = ((x / temperature).sigmoid() for x in (z, z_tilde))
    torch.testing.assert_close(draw.points[1], relaxed.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(draw.points[-1], conditional.detach(), rtol=1e-10, atol=1e-12)
    log_q = dg.objectives.log_prob(b, logits, latent="bernoulli")
    signal = (f(b) - eta * f(conditional)).detach()
    expected = gradient(signal * log_q + eta * f(relaxed) - eta * f(conditional), logits)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10)


def test_categorical_rebar_is_its_published_formula():
    """z_k = log theta_k - log(-log u_k); z~_b = -log(-log v_b), z~_k = -log(-log v_k / theta_k - log v_b)."""
    logits, f = problem("categorical")
    eta, temperature = 0.8, 0.6
    estimator = dg.REBAR(temperature, eta, num_samples=2)
    draw = estimator.sample(logits)
    got = gradient(estimator.surrogate(draw, f(draw.points)), logits)
    total = torch.zeros(50, dtype=torch.float64)
    for s in range(2):
        b = torch.nn.functional.one_hot(draw.indices[s], 4).bool()
        gumbel = draw.added.logits[s] - logits.detach().log_softmax(-1)
        z = logits.log_softmax(-1) + gumbel
        log_v = -draw.added.log_noise[2 + s].exp()
        of_b = torch.where(b, log_v, 0.0).sum(-1, keepdim=True)
        z_tilde = -torch.log(torch.where(b, -log_v, -log_v / logits.softmax(-1) - of_b))
        for perturbed in (z, z_tilde):
            assert torch.equal(perturbed.argmax(-1), draw.indices[s])
        relaxed, conditional = ((x / temperature).softmax(-1) for x in (z, z_tilde))
        one_hots = b.double()
        signal = (f(one_hots) - eta * f(conditional)).detach()
        total = total + signal * dg.objectives.log_prob(one_hots, logits) + eta * (f(relaxed) - f(conditional))
    torch.testing.assert_close(got, gradient(total / 2, logits), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["ordinary", "forbidden"])
def test_perturbed_logits_have_gumbel_noise_and_the_point_as_argmax(kind):
    """Over the points' law the noise is independent Gumbel: its distribution function makes it uniform."""
    logits = logits_of(kind, 1, 3)[0]
    count = 400_000
    draw = dg.REBAR().sample(logits.expand(count, 3).requires_grad_())
    made = draw.added
    for part in made.logits:
        assert torch.equal(part.argmax(-1), draw.indices[0])
        uniform = (-(made.log_probs - part).exp()).exp()
        possible = [c for c in range(3) if logits[c] > -torch.inf]
        cells = torch.zeros(count, dtype=torch.int64)
        for c in possible:
            cells = cells * 4 + (uniform[:, c] * 4).long().clamp(0, 3)
        assert (part[:, [c for c in range(3) if c not in possible]] == -torch.inf).all()
        assert_law(cells, torch.full((4 ** len(possible),), 4.0 ** -len(possible), dtype=torch.float64), COMPARISONS)


def on_a_grid(estimator, f, logit, nodes=200):
    """The mean gradient for one Bernoulli variable: both noises integrated by Gauss and Legendre."""
    place, weight = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(nodes))
    v, weight = (place + 1) / 2, weight / 2
    total = 0.0
    for b in (0, 1):
        p = torch.tensor(logit if b else -logit, dtype=torch.float64).sigmoid()
        leaf = torch.full((nodes, 1), logit, dtype=torch.float64, requires_grad=True)
        indices = torch.full((1, nodes, 1), b)
        draw = dg.draw.given(leaf, indices, LATENTS["bernoulli"])
        draw = estimator.complete(draw)
        log_noise = torch.zeros(nodes, 1, 2, dtype=torch.float64)
        log_noise[..., 1 - b] = v.logit().unsqueeze(-1)  # only the ratio of the two exponentials matters
        # Each noise enters terms of its own, so the grid of both can be its diagonal.
        log_noise = log_noise.expand(draw.added.log_noise.shape)
        logits = relaxation_ops.perturbed(draw.added.log_probs, indices, log_noise)
        draw = dataclasses.replace(
            draw, added=Perturbation(draw.added.log_probs, log_noise, logits, draw.added.temperature)
        )
        each = gradient(estimator.surrogate(draw, f(draw.points)), leaf)
        total += float(p * (weight * each[:, 0]).sum())
    return total


class Flipped(dg.Relaxed):
    """The conditional relaxation with its sign flipped, as in published code."""

    def add(self, draw, generator):
        made = super().add(draw, generator)
        free, conditional = made.logits
        return Perturbation(made.log_probs, made.log_noise, torch.stack((free, conditional.flip(-1))), made.temperature)


class FreePath(dg.Relaxed):
    """The conditional gradient taken along the free path: in the mean the two cancel."""

    def subtract_from(self, evaluation):
        return super().subtract_from(evaluation)._replace(added_back=None)


class NoPath(dg.Relaxed):
    """The conditional gradient forgotten."""

    def subtract_from(self, evaluation):
        points = len(evaluation.values)
        grad_f = evaluation.grad_f.clone()
        residual = super().subtract_from(evaluation)
        grad_f[2 * points :] = 0
        return residual._replace(added_back=super().subtract_from(evaluation._replace(grad_f=grad_f)).added_back)


def curve(points):
    return (points - 0.3).square().flatten(2).sum(-1) + points.flatten(2).sum(-1).exp()


def true_slope(logit):
    one = torch.tensor([logit], dtype=torch.float64)
    return float(dg.exact.gradient(lambda points: curve(points.unsqueeze(1)).squeeze(1), one, "bernoulli"))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("logit", [-1.3, 0.2, 2.0])
def test_the_noise_integrated_is_the_true_gradient(logit, temperature, tied):
    estimator, truth = dg.REBAR(temperature, 0.9, tied=tied, latent="bernoulli"), true_slope(logit)
    assert abs(on_a_grid(estimator, curve, logit) - truth) < 1e-5 * abs(truth)


@pytest.mark.parametrize("wrong", [Flipped, FreePath, NoPath])
def test_known_wrong_relaxations_fail(wrong):
    """On the grid, and in the calibrated test that the right one passes."""
    logit, truth = 0.7, true_slope(0.7)
    if wrong is not Flipped:
        assert abs(on_a_grid(compose(wrong(0.5)), curve, logit) - truth) > 0.05 * abs(truth)
    samples = {}
    for kind in (dg.Relaxed, wrong):
        leaf = torch.full((400_000, 1), logit, dtype=torch.float64, requires_grad=True)
        samples[kind] = gradient(compose(kind(0.5))(curve, leaf), leaf).flatten()
        assert draws_to_detect(0.02, truth, samples[kind].std(), COMPARISONS) < 400_000
    assert_mean(samples[dg.Relaxed], truth, 0.02, COMPARISONS)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(samples[wrong], truth, 0.02, COMPARISONS)


def compose(control_variate):
    return dg.Composition(dg.Independent(1), dg.Score(), control_variate, "bernoulli")


def test_the_correction_written_naively_sends_noise_into_f_and_ours_does_not():
    """As a term of the loss, c(x) - c(x~) has a gradient w.r.t. f's own parameters, of mean zero."""
    logits, weight = (
        torch.randn(50, 3, dtype=torch.float64, requires_grad=True),
        torch.randn(3).double().requires_grad_(),
    )
    estimator = dg.REBAR(latent="bernoulli")
    draw = estimator.sample(logits)
    values = (draw.points * weight).sum(-1).sin()
    hard, free, conditional = values
    (plain,) = torch.autograd.grad(hard.sum(), weight, retain_graph=True)
    (naive,) = torch.autograd.grad((hard + free - conditional).sum(), weight, retain_graph=True)
    (ours,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), weight)
    assert not torch.allclose(naive, plain, rtol=0.01)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_relaxation_takes_variance_off(latent):
    """On a gently curved f, per point; with tied noise, at two evaluations, it takes off as much."""
    logits, f = problem(latent, 1)
    many = logits.detach().expand(40_000, *logits.shape[1:]).clone().requires_grad_()

    def variance(estimator):
        return float(
            gradient(estimator(lambda points: 0.3 * f(points) + points.flatten(2).sum(-1), many), many).var(0).sum()
        )

    plain = variance(dg.Reinforce(latent=latent))
    assert variance(dg.REBAR(0.5, latent=latent)) < 0.5 * plain
    assert variance(dg.REBAR(0.5, tied=True, latent=latent)) < 0.5 * plain


@pytest.mark.parametrize("make", [lambda: dg.REBAR(), lambda: dg.RELAX(Waves(), scale=None)])
def test_one_category_has_no_gradient(make):
    logits = torch.zeros(4, 2, 1, dtype=torch.float64, requires_grad=True)
    assert (gradient(make()(lambda points: points.square().sum((-1, -2)), logits), logits) == 0).all()


@pytest.mark.parametrize("scale", [0.4, None])
def test_relax_with_a_silent_network_is_rebar(scale):
    logits, f = problem("categorical")
    network = Waves()
    torch.nn.init.zeros_(network.weight)
    other = dg.Reinforce() if scale is None else dg.REBAR(0.7, scale)
    got, expected = (
        gradient(estimator(f, logits, torch.Generator().manual_seed(1)), logits)
        for estimator in (dg.RELAX(network, 0.7, scale), other)
    )
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)  # its temperature and scale are float32


def test_relax_alone_takes_a_black_box():
    """Values without any graph; the context is seen by the network."""
    logits = torch.randn(5, 3, 4, requires_grad=True)
    table, seen = torch.randn(4), []

    class Network(torch.nn.Module):
        def forward(self, features):
            seen.append(features.shape)
            return features.square().sum(-1)

    estimator = dg.RELAX(Network(), scale=None, num_samples=2)
    assert estimator.evaluations == 2
    assert not estimator.needs_grad_f
    draw = estimator.sample(logits)
    loss = estimator.surrogate(draw, table[draw.indices].sum(-1), context=torch.randn(5, 7))
    assert gradient(loss, logits).isfinite().all()
    assert draw._points is None
    assert seen == [(4, 5, 19)]


def test_relaxations_refuse():
    with pytest.raises(ValueError, match="temperature must be positive"):
        dg.REBAR(0.0)
    with pytest.raises(ValueError, match="temperature must be positive"):
        dg.RELAX(Waves(), -1.0)
    with pytest.raises(ValueError, match="there is no control variate"):
        dg.nn.LearnedRelaxation(scale=None)
    with pytest.raises(TypeError, match="without one use REBAR"):
        dg.RELAX(None)
    with pytest.raises(ValueError, match="use coupling=Independent"):
        dg.Composition(dg.Tree(), dg.Score(), dg.Relaxed())
    with pytest.raises(ValueError, match="continuous"):
        dg.exact.moments(dg.REBAR(), table_function(1, 2), torch.zeros(1, 2))
    logits = torch.zeros(5, 3, 4, requires_grad=True)
    with pytest.raises(ValueError, match="network of a relaxed control variate must return"):
        dg.RELAX(torch.nn.Linear(12, 2), scale=None)(lambda points: points.sum((-1, -2)), logits)
    alone = dg.RELAX(Waves(), scale=None)
    with pytest.raises(ValueError, match="needs the noise of its relaxed points"):
        alone.surrogate(dg.draw.given(logits, torch.zeros(1, 5, 3).long(), LATENTS["categorical"]), torch.zeros(1, 5))
    with pytest.raises(ValueError, match="only one control variate of a chain"):
        dg.Composition(dg.Independent(1), dg.Score(), (dg.Relaxed(), dg.Taylor()))


@pytest.mark.parametrize("learn", [False, True])
def test_every_variable_can_have_a_temperature_of_its_own(learn):
    """With values of its own each is a problem of its own, whose number is its entry of the tensor."""
    logits, numbers = torch.randn(5, 3, 4, dtype=torch.float64), torch.tensor([0.4, 1.0, 2.5], dtype=torch.float64)

    def found(temperature):
        estimator = dg.REBAR(temperature, 0.7, num_samples=2, learn=learn)
        for learner in estimator.learners:
            learner.double()
        leaf = logits.clone().requires_grad_()
        draw = estimator.sample(leaf, torch.Generator().manual_seed(0))
        values = (draw.points * torch.arange(1.0, 5.0)).sum(-1).sin()
        (gradient,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf, retain_graph=True)
        learned = [
            torch.autograd.grad(learner.loss(draw, values), learner.log_temperature) for learner in estimator.learners
        ]
        return gradient, learned

    gradient, learned = found(numbers)
    for v, number in enumerate(numbers.tolist()):
        expected, _ = found(number)
        torch.testing.assert_close(gradient[:, v], expected[:, v], rtol=1e-6, atol=1e-9)
    for (of_temperature,) in learned:
        assert of_temperature.shape == (3,)
        assert (of_temperature != 0).all()


def test_annealing_in_place_leaves_the_draw_before_it():
    logits, temperature = torch.randn(5, 3, 4, requires_grad=True), torch.tensor(0.5)
    found = []
    for change in (1.0, 3.0):
        estimator = dg.REBAR(temperature)
        draw = estimator.sample(logits, torch.Generator().manual_seed(0))
        temperature.mul_(change)
        values = draw.points.square().sum((-1, -2)).sin()
        found.append(torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0])
    assert torch.equal(*found)
    with pytest.raises(ValueError, match="broadcasts to the variables' shape"):
        dg.REBAR(torch.ones(4)).sample(logits)
    with pytest.raises(ValueError, match="E f does not depend on this temperature"):
        dg.REBAR(torch.nn.Parameter(torch.ones(())))
