"""What is special to the biased estimators: published formulas, what they are exact for, and how biased they are."""

import pytest
import torch
from calibration import FALSE_ALARM, assert_mean
from catalogue import logits_of, relative_bias
from scipy import stats

import discretegrad as dg
from discretegrad.ops.gumbel import conditional_gumbel, gumbel
from discretegrad.ops.noise import uniform
from discretegrad.pathwise import DiscretePath
from discretegrad.pathwise.base import straight_through

COMPARISONS = 24


def smooth(shape):
    """A function that is no polynomial of the one-hots, of points `[S, *batch, *shape]`."""
    weight = torch.randn(shape, dtype=torch.float64)
    return lambda points: (points * weight).flatten(points.ndim - len(shape)).sum(-1).exp()


def quadratic(variables, categories):
    size = variables * categories
    matrix = torch.randn(size, size, dtype=torch.float64)
    return lambda points: torch.einsum("ni,ij,nj->n", points.flatten(1), matrix, points.flatten(1))


def cubic(points):
    entries = points.flatten(1)
    return (torch.arange(1.0, 1.0 + entries.shape[1], dtype=points.dtype) * entries.pow(3)).sum(1)


def gradients_of(estimator, f, logits, seed=3):
    """The gradient, the draw, and the gradient of f at its points over S: what every formula below is made of."""
    leaf = logits.detach().clone().requires_grad_()
    draw = estimator.sample(leaf, torch.Generator().manual_seed(seed))
    (got,) = torch.autograd.grad(estimator.surrogate(draw, f(draw.points)).sum(), leaf)
    points = draw.points.detach().requires_grad_()
    (of_f,) = torch.autograd.grad(f(points).mean(0).sum(), points)
    return got, draw, of_f


# ReinMax


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_reinmax_is_its_published_algorithm(temperature):
    """Two softmaxes, the second with its logits replaced so that its value is the midpoint; by autograd."""
    logits = torch.randn(5, 3, 4, dtype=torch.float64)
    f = smooth((3, 4))
    got, draw, of_f = gradients_of(dg.ReinMax(temperature, num_samples=2), f, logits)
    theta = logits.clone().requires_grad_()
    hard = torch.nn.functional.one_hot(draw.indices, 4).double()
    first = theta.softmax(-1)
    midpoint = 0.5 * (hard + (theta / temperature).softmax(-1))
    second = ((midpoint.log() - theta).detach() + theta).softmax(-1)
    (expected,) = torch.autograd.grad(((2 * second - 0.5 * first) * of_f).sum(), theta)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_reinmax_is_the_trapezoidal_rule():
    """Its mean is sum_ij p_j (f'(i) + f'(j)) / 2 . (e_i - e_j) grad p_i, term by term (the paper's second order)."""
    logits = torch.randn(1, 5, dtype=torch.float64)
    f = smooth((1, 5))
    p = logits.softmax(-1)[0]
    corners = torch.eye(5, dtype=torch.float64).unsqueeze(1).requires_grad_()
    slope = torch.autograd.grad(f(corners).sum(), corners)[0].squeeze(1)
    expected = torch.zeros(5, dtype=torch.float64)
    for i in range(5):
        of_p = p[i] * (torch.eye(5, dtype=torch.float64)[i] - p)
        for j in range(5):
            average = (slope[i] + slope[j]) / 2
            expected += p[j] * (average[i] - average[j]) * of_p
    got = dg.exact.moments(dg.ReinMax(), f, logits).mean[0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_reinmax_is_exact_for_quadratic_functions(latent):
    """At temperature 1, and there only; not for cubic ones; straight-through is exact for neither."""
    if latent == "bernoulli":
        logits, f = torch.randn(3, dtype=torch.float64), quadratic(3, 1)
    else:
        logits, f = logits_of("ordinary", 3, 3), quadratic(3, 3)
    assert relative_bias(dg.ReinMax(latent=latent), f, logits) < 1e-10
    assert relative_bias(dg.ReinMax(2.0, latent=latent), f, logits) > 0.01
    assert relative_bias(dg.StraightThrough(latent=latent), f, logits) > 0.01
    assert relative_bias(dg.ReinMax(latent=latent), cubic, logits) > 0.01


def test_reinmax_without_its_correction_is_not_exact():
    """Negative controls: the midpoint's Jacobian alone, once or twice."""

    class Midpoint(DiscretePath):
        factor = 1.0

        def carry(self, logits, indices):
            hard = torch.nn.functional.one_hot(indices, logits.shape[-1]).double()
            middle = (hard + logits.softmax(-1)) / 2
            soft = ((middle.log() - logits).detach() + logits).softmax(-1)
            return straight_through(self.factor * soft, indices)

    f, logits = quadratic(2, 3), logits_of("ordinary", 2, 3)
    twice = Midpoint()
    twice.factor = 2.0
    for path in (Midpoint(), twice):
        assert relative_bias(dg.Pathwise(path), f, logits) > 0.01


# Gapped straight-through


@pytest.mark.parametrize("gap", [0.0, 1.0, 2.5])
def test_gapped_st_is_its_published_formula(gap):
    logits = torch.randn(4, 2, 5, dtype=torch.float64)
    got, draw, of_f = gradients_of(dg.GappedST(0.6, gap, num_samples=2), smooth((2, 5)), logits)
    expected = torch.zeros_like(logits)
    for s in range(2):
        for b in range(4):
            for v in range(2):
                theta, z = logits[b, v], int(draw.indices[s, b, v])
                top = max(theta.tolist())
                moved = [top if c == z else min(t, top - gap) for c, t in enumerate(theta.tolist())]
                q = (torch.tensor(moved, dtype=torch.float64) / 0.6).softmax(-1)
                g = of_f[s, b, v]
                expected[b, v] += q * (g - (q * g).sum()) / 0.6
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


# Gumbel-Rao


def test_one_noise_makes_gumbel_rao_st_gumbel():
    """The same Gumbel noise, the same point, the same gradient."""
    logits = torch.randn(6, 3, 4, dtype=torch.float64)
    got, draw, of_f = gradients_of(dg.GumbelRao(1, 0.7, num_samples=2), smooth((3, 4)), logits, seed=5)
    generator = torch.Generator().manual_seed(5)
    uniform((2, 6, 3), logits, generator)
    uniforms = uniform((1, 2, 6, 3, 4), logits, generator)
    noise = (conditional_gumbel(logits.log_softmax(-1), draw.indices, uniforms) - logits.log_softmax(-1))[0]
    assert torch.equal((logits + noise).argmax(-1), draw.indices)
    leaf = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad((((leaf + noise) / 0.7).softmax(-1) * of_f).sum(), leaf)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_gumbel_rao_averages_over_its_noises():
    logits = torch.randn(6, 3, 4, dtype=torch.float64)
    got, draw, of_f = gradients_of(dg.GumbelRao(7, 0.7), smooth((3, 4)), logits, seed=5)
    generator = torch.Generator().manual_seed(5)
    uniform((1, 6, 3), logits, generator)
    uniforms = uniform((7, 1, 6, 3, 4), logits, generator)
    expected = torch.zeros_like(logits)
    for k in range(7):
        q = (conditional_gumbel(logits.log_softmax(-1), draw.indices, uniforms[k : k + 1])[0, 0] / 0.7).softmax(-1)
        expected += q * (of_f[0] - (q * of_f[0]).sum(-1, keepdim=True)) / 0.7 / 7
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_conditional_noise_has_the_law_of_free_noise():
    """Over ids and noise together every sum is a Gumbel, and every difference of two sums is logistic."""
    log_probs = torch.tensor([0.2, 0.5, 0.25, 0.05], dtype=torch.float64).log()
    indices = torch.distributions.Categorical(logits=log_probs).sample((200_000,))
    sums = conditional_gumbel(log_probs.expand(200_000, 4), indices, torch.rand(1, 200_000, 4, dtype=torch.float64))[0]
    assert torch.equal(sums.argmax(-1), indices)
    for i in range(4):
        level = stats.kstest(sums[:, i].numpy(), stats.gumbel_r(loc=float(log_probs[i])).cdf).pvalue
        assert level > FALSE_ALARM / COMPARISONS
        j = (i + 1) % 4
        law = stats.logistic(loc=float(log_probs[i] - log_probs[j]))
        level = stats.kstest((sums[:, i] - sums[:, j]).numpy(), law.cdf).pvalue
        assert level > FALSE_ALARM / COMPARISONS


def test_conditional_noise_of_improbable_and_forbidden_categories_is_finite():
    log_probs = torch.tensor([[0.0, -1e4, -torch.inf]])
    sums = conditional_gumbel(log_probs, torch.zeros(1, 1, dtype=torch.int64), torch.rand(5, 1, 1, 3))
    assert sums[..., :2].isfinite().all()
    assert (sums[..., 2] == -torch.inf).all()
    zero = conditional_gumbel(log_probs, torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, 1, 3))
    assert zero[..., :2].isfinite().all()


def many(estimator, f, logits, count):
    leaf = logits.expand(count, *logits.shape).clone().requires_grad_()
    draw = estimator.sample(leaf)
    values = torch.stack([f(points) for points in draw.points])
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)[0].flatten(1)


def test_gumbel_rao_has_the_mean_of_st_gumbel_and_less_variance():
    f, logits = smooth((2, 3)), logits_of("ordinary", 2, 3)
    truth = dg.exact.gradient(f, logits).flatten()
    scale = truth @ truth
    plain = many(dg.GumbelSoftmax(0.5, hard=True), f, logits, 1_000_000) @ truth
    averaged = many(dg.GumbelRao(5, 0.5), f, logits, 1_000_000) @ truth
    assert_mean(averaged - plain + scale, scale, 0.03, COMPARISONS)
    excess = (plain - plain.mean()).square() - (averaged - averaged.mean()).square()
    assert excess.mean() > stats.norm.isf(FALSE_ALARM / COMPARISONS) * excess.std() / 1000


# I-MLE


def test_imle_is_its_published_algorithm():
    logits = torch.randn(4, 2, 5, dtype=torch.float64)
    got, draw, of_f = gradients_of(dg.IMLE(3.0, num_samples=2), smooth((2, 5)), logits, seed=5)
    noise = gumbel(uniform((2, 4, 2, 5), logits, torch.Generator().manual_seed(5)))
    expected = torch.zeros_like(logits)
    for s in range(2):
        for b in range(4):
            for v in range(2):
                perturbed = (logits[b, v] + noise[s, b, v]).tolist()
                z = max(range(5), key=perturbed.__getitem__)
                assert z == draw.indices[s, b, v]
                slope = (2 * of_f[s, b, v]).tolist()  # of f at this point, not of the mean over the points
                target = [a - 3.0 * g for a, g in zip(perturbed, slope, strict=True)]
                other = max(range(5), key=target.__getitem__)
                expected[b, v, z] += 1 / 3.0 / 2
                expected[b, v, other] -= 1 / 3.0 / 2
    assert (expected != 0).any()
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_imle_of_a_linear_function_is_a_difference_of_softmaxes(latent):
    """E = (p(logits) - p(logits - step w)) / step: the finite difference of the mean states, by a calibrated test."""
    step = 2.0
    weight = torch.randn((2,) if latent == "bernoulli" else (2, 4), dtype=torch.float64)
    logits = torch.randn_like(weight)
    law = torch.sigmoid if latent == "bernoulli" else lambda x: x.softmax(-1)
    expected = ((law(logits) - law(logits - step * weight)) / step).flatten()
    samples = many(dg.IMLE(step, latent=latent), lambda x: (x * weight).flatten(1).sum(1), logits, 1_000_000)
    assert_mean(samples @ expected, expected @ expected, 0.05, COMPARISONS)


def test_imle_is_straight_through_in_the_limit_of_small_steps():
    """For linear f, where both have means in closed form; the first-order error shrinks with the step."""
    weight, logits = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    p = logits.softmax(-1)
    straight = p * (weight - (p * weight).sum())
    errors = [((p - (logits - step * weight).softmax(-1)) / step - straight).norm() for step in (0.1, 0.01, 0.001)]
    assert errors[2] < errors[1] / 9 < errors[0] / 80


def test_double_backward_of_imle_is_refused():
    logits = torch.randn(4, 2, 3, requires_grad=True)
    loss = dg.IMLE()(lambda points: points.square().sum((-1, -2)), logits)
    (gradient,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        gradient.square().sum().backward()


# All of them


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize(
    "build",
    [
        lambda latent: dg.GumbelSoftmax(0.7, latent=latent),
        lambda latent: dg.GumbelSoftmax(0.7, hard=True, latent=latent),
        lambda latent: dg.GumbelRao(3, 0.7, latent=latent),
        lambda latent: dg.IMLE(latent=latent),
    ],
)
def test_declared_biased_is_biased_where_it_cannot_be_enumerated(build, latent):
    """The mean along the true gradient misses it by more than the noise explains, at the file's false-alarm rate."""
    f = smooth((2,) if latent == "bernoulli" else (2, 3))
    # A skewed law and a curved function: the seed of the suite fixes them, the draws are calibrated.
    logits = 1.5 * torch.ones(2, dtype=torch.float64)
    if latent == "categorical":
        logits = torch.tensor([[1.5, 0.0, -1.0], [0.3, -1.2, 0.8]], dtype=torch.float64)
    estimator = build(latent)
    assert not estimator.unbiased
    truth = dg.exact.gradient(f, logits, latent).flatten()
    samples = many(estimator, f, logits, 400_000)
    misses = (samples - truth).mean(0) / (samples.std(0) / len(samples) ** 0.5)
    assert misses.abs().max() > stats.norm.isf(FALSE_ALARM / COMPARISONS / samples.shape[1] / 2)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: dg.GumbelRao(0), "num_rao must be an integer"),
        (lambda: dg.GumbelRao(5, 0.0), "temperature must be positive"),
        (lambda: dg.ReinMax(0.0), "temperature must be positive"),
        (lambda: dg.GappedST(-1.0), "temperature must be positive"),
        (lambda: dg.GappedST(gap=-1.0), "gap must be 0 or more"),
        (lambda: dg.IMLE(0.0), "step must be positive"),
    ],
)
def test_wrong_arguments_are_refused(build, match):
    with pytest.raises(ValueError, match=match):
        build()
