"""The multi-sample bound: its published formulas, its own gradient, and what is wrong with its look-alikes."""

import itertools
import math

import pytest
import torch
from catalogue import logits_of, table_function, truth

import discretegrad as dg
from discretegrad.ops import bound as bound_ops


def gradient(estimator, logits, indices, values):
    leaf = logits.detach().clone().requires_grad_()
    draw = dg.draw.given(leaf, indices, dg.latent.LATENTS[estimator.latent])
    return torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)[0]


def bound_of(values):
    """log mean exp, the naive way."""
    return math.log(sum(math.exp(v) for v in values) / len(values))


@pytest.mark.parametrize("baseline", ["geometric", "arithmetic", None])
def test_vimco_is_its_published_formula(baseline):
    """Equation by equation from the paper, one point after the other, in f = exp(value)."""
    points = 4
    logits = torch.randn(6, 3, 5, dtype=torch.float64)
    estimator = dg.VIMCO(points, baseline)
    indices = estimator.sample(logits).indices
    values = torch.randn(points, 6, dtype=torch.float64)
    expected = torch.zeros_like(logits)
    for b, j in itertools.product(range(6), range(points)):
        f = [math.exp(float(v)) for v in values[:, b]]
        others = f[:j] + f[j + 1 :]
        mean = {
            "geometric": math.exp(sum(math.log(x) for x in others) / (points - 1)),
            "arithmetic": sum(others) / (points - 1),
            None: None,
        }[baseline]
        without = 0.0 if mean is None else math.log((sum(others) + mean) / points)
        signal = math.log(sum(f) / points) - without
        for v in range(3):
            expected[b, v] -= signal * logits[b, v].softmax(-1)
            expected[b, v, indices[j, b, v]] += signal
    torch.testing.assert_close(gradient(estimator, logits, indices, values), expected, rtol=1e-11, atol=1e-13)


def test_disarm_bound_is_its_published_formula():
    """On bits (L(b_k) - L(b'_k)) / 2 (-1)^b' 1[b != b'] sigmoid|logit|, the others as drawn, either all b or all b'."""
    pairs = 3
    logits = torch.randn(6, 4, dtype=torch.float64)
    estimator = dg.DisARMBound(pairs, latent="bernoulli")
    indices = estimator.sample(logits).indices
    values = torch.randn(2 * pairs, 6, dtype=torch.float64)
    expected = torch.zeros_like(logits)
    for b, k, configuration in itertools.product(range(6), range(pairs), range(2)):
        others = [float(values[2 * j + configuration, b]) for j in range(pairs) if j != k]
        first, second = (bound_of([*others, float(values[2 * k + side, b])]) for side in range(2))
        one, other = indices[2 * k, b], indices[2 * k + 1, b]
        weight = (1.0 - 2.0 * other) * (one != other) * logits[b].abs().sigmoid()
        expected[b] += (first - second) / 2 * weight / 2
    torch.testing.assert_close(gradient(estimator, logits, indices, values), expected, rtol=1e-11, atol=1e-13)


def test_with_one_point_the_bound_is_the_value():
    """K = 1: VIMCO without a baseline is REINFORCE, and the pair's form is DisARM."""
    logits = torch.randn(6, 3, 5, dtype=torch.float64)
    for bound, plain in ((dg.VIMCO(1, None), dg.Reinforce()), (dg.DisARMBound(1), dg.DisARMTree())):
        indices = plain.sample(logits).indices
        values = torch.randn(indices.shape[0], 6, dtype=torch.float64)
        got, expected = (gradient(estimator, logits, indices, values) for estimator in (bound, plain))
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize("kind", ["vimco", "arithmetic", "plain", "disarm"])
def test_the_whole_gradient_is_that_of_the_mean_bound(kind, latent):
    """Log-weights log p(z) - log q(z) with the logits' graph, and a parameter in p: all outcomes, every parameter."""
    estimator = {
        "vimco": lambda: dg.VIMCO(2, latent=latent),
        "arithmetic": lambda: dg.VIMCO(2, "arithmetic", latent),
        "plain": lambda: dg.VIMCO(2, None, latent),
        "disarm": lambda: dg.DisARMBound(2, latent=latent),
    }[kind]()
    categories = 2 if latent == "bernoulli" else 3
    logits = torch.randn((2,) if latent == "bernoulli" else (2, 3), dtype=torch.float64, requires_grad=True)
    table = torch.randn(categories, categories, dtype=torch.float64, requires_grad=True)

    def log_weights(ids, leaf, points):
        return table[ids[..., 0], ids[..., 1]] - dg.objectives.log_prob(points, leaf, 1, latent)

    words = torch.cartesian_prod(torch.arange(categories), torch.arange(categories))
    of_words = words.double() if latent == "bernoulli" else torch.nn.functional.one_hot(words, 3).double()
    log_q = dg.objectives.log_prob(of_words, logits, 1, latent)
    weights = log_weights(words, logits, of_words)
    pairs = torch.logaddexp(weights.unsqueeze(0), weights.unsqueeze(1)) - math.log(2)
    mean = ((log_q.unsqueeze(0) + log_q.unsqueeze(1)).exp() * pairs).sum()
    expected = torch.autograd.grad(mean, (logits, table))

    # Every outcome is an element of a batch, weighted by its probability.
    law = estimator.coupling.law(dg.latent.LATENTS[latent].category_logits(logits.detach()))
    number = torch.cartesian_prod(*[torch.arange(len(law.outcomes))] * 2)
    probability = law.probabilities[torch.arange(2), number].prod(-1)
    indices = law.outcomes[number].movedim(-1, 0)
    many = logits.expand(len(number), *logits.shape)
    draw = dg.draw.given(many, indices, dg.latent.LATENTS[latent])
    surrogate = estimator.surrogate(draw, log_weights(indices, many, draw.points))
    torch.testing.assert_close(probability @ surrogate, mean, rtol=1e-12, atol=0)
    got = torch.autograd.grad(probability @ surrogate, (logits, table))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)

    if kind != "vimco":
        return
    # Negative control: log q with detached logits, as is right in an ELBO, leaves a bias here.
    values = table[indices[..., 0], indices[..., 1]] - dg.objectives.log_prob(draw.points, many.detach(), 1, latent)
    (wrong,) = torch.autograd.grad(probability @ estimator.surrogate(draw, values), logits)
    assert (wrong - expected[0]).norm() > 0.05 * expected[0].norm()


class OthersWithMe(dg.objectives.MultiSampleBound):
    """A baseline that has seen its own point."""

    def signals(self, values):
        return values.shape[0] * (dg.objectives.multi_sample_bound(values) - values.mean(0)).expand(values.shape)


class Unsummed(dg.objectives.MultiSampleBound):
    """Signals that are averaged over the points where they must be summed."""

    def signals(self, values):
        return super().signals(values) / values.shape[0]


class CrossTerms(dg.objectives.AntitheticBound):
    """Points of different pairs compared, whose signals are made of different others."""

    def refuse(self, coupling, weights, control_variate):
        pass


class UnrefusedBound(dg.objectives.MultiSampleBound):
    """Leave-one-out baselines on antithetic points."""

    def refuse(self, coupling, weights, control_variate):
        pass


WRONG = {
    "own point in the baseline": lambda: dg.Composition(dg.Independent(3), dg.Score(), objective=OthersWithMe()),
    "averaged signals": lambda: dg.Composition(dg.Independent(3), dg.Score(), objective=Unsummed()),
    "cross terms": lambda: dg.Composition(dg.Tree(num_pairs=2), dg.RaoBlackwell(), objective=CrossTerms()),
    "antithetic points": lambda: dg.Composition(dg.Tree(), dg.Score(), objective=UnrefusedBound()),
    "leave-one-out of signals": lambda: dg.Composition(
        dg.Independent(3), dg.Score(), dg.LeaveOneOut(), objective=UnrefusedBound(None)
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_known_wrong_bounds_fail(name):
    estimator, f, logits = WRONG[name](), table_function(2, 3), logits_of("ordinary", 2, 3)
    expected = truth(estimator, f, logits)
    bias = (dg.exact.moments(estimator, f, logits).mean - expected).norm() / expected.norm()
    assert bias > 0.01


def test_baselines_cut_the_variance():
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    plain, arithmetic, geometric = (
        dg.exact.moments(dg.VIMCO(2, baseline), lambda points: f(points) + 3.0, logits).total_variance
        for baseline in (None, "arithmetic", "geometric")
    )
    assert arithmetic < 0.5 * plain
    assert geometric < 0.5 * plain


@pytest.mark.parametrize("baseline", ["geometric", "arithmetic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_signals_keep_their_digits(baseline, dtype):
    """Log-weights of -1e4, one point that outweighs all others by 1e26, and shifts, against float64 by brute force."""
    values = torch.tensor([[0.0, 60.0], [-1.5, 0.0], [0.25, 1.0]], dtype=torch.float64)
    expected = torch.empty_like(values)
    for b, k in itertools.product(range(2), range(3)):
        column = values[:, b].tolist()
        others = column[:k] + column[k + 1 :]
        stand_in = sum(others) / 2 if baseline == "geometric" else bound_of(others)
        expected[k, b] = bound_of(column) - bound_of([*others, stand_in])
    got = bound_ops.signals((values - 1e4).to(dtype), baseline)
    torch.testing.assert_close(got.double(), expected, rtol=1e-6 if dtype == torch.float32 else 1e-12, atol=1e-10)


@pytest.mark.parametrize("estimator", [dg.VIMCO(3), dg.VIMCO(3, "arithmetic"), dg.DisARMBound(3)])
def test_points_of_weight_zero_do_no_harm(estimator):
    """Two thirds of the points have log-weight -inf, or all of them have."""
    logits = torch.zeros(2, 3, 4, requires_grad=True)
    draw = estimator.sample(logits)
    values = torch.full((draw.evaluations, 2), -torch.inf)
    values[:, 0] = torch.where(torch.arange(draw.evaluations) % 3 == 0, -torch.inf, 1.0)
    loss = estimator.surrogate(draw, values)
    assert not loss.isnan().any()
    assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()
