"""Control variates that learn: their loss is the squared norm of the estimate, and reaches nothing else."""

import pytest
import torch
from catalogue import Waves, every, make, table_function

import discretegrad as dg

TUNED = [(n, k) for n, k in every() if any(isinstance(learner, dg.nn.Tuned) for learner in make(n, k).learners)]


def problem(latent):
    tail = (3,) if latent == "bernoulli" else (3, 4)
    logits = torch.randn(5, *tail, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(tail, dtype=torch.float64, requires_grad=True)
    return logits, weight, lambda points: (points * weight).flatten(-len(tail)).sum(-1).sin() + 0.5


def step(estimator, logits, f, mask=None):
    """One draw, always with the same noise: the estimate's mean squared norm, and the loss."""
    draw = estimator.sample(logits, torch.Generator().manual_seed(3), mask)
    values = f(draw.points)
    surrogate = estimator.surrogate(draw, values)
    (gradient,) = torch.autograd.grad(surrogate.sum(), logits, retain_graph=True)
    return gradient.square().sum() / len(logits), estimator.learners[0].loss(draw, values)


def test_all_kinds_are_here():
    assert {type(make(n, k).learners[0]).__name__ for n, k in TUNED} == {
        "LearnedTaylor",
        "LearnedStein",
        "LearnedRelaxation",
    }


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("name", "latent"), TUNED)
def test_the_loss_is_the_squared_norm_and_its_gradient_a_finite_difference(name, latent, masked):
    """Draw by draw with the noise held fast, f evaluated anew where a parameter moves the points."""
    logits, _, f = problem(latent)
    mask = torch.tensor([True, False, True]) if masked else None
    estimator = make(name, latent)
    module = estimator.learners[0].double()
    squared, loss = step(estimator, logits, f, mask)
    torch.testing.assert_close(loss.detach(), squared, rtol=1e-11, atol=0)
    module.zero_grad()
    loss.backward()
    size = 1e-6
    for label, parameter in module.named_parameters():
        entry = parameter.data.view(-1)[0:1]
        ends = []
        for sign in (1, -2):
            entry += sign * size
            ends.append(step(estimator, logits, f, mask)[0])
        entry += size
        expected = (ends[0] - ends[1]) / (2 * size)
        got = parameter.grad.flatten()[0]
        assert abs(got - expected) < 1e-6 * (1 + abs(expected)), label


@pytest.mark.parametrize(("name", "latent"), TUNED)
def test_the_loss_reaches_its_own_parameters_only(name, latent):
    logits, weight, f = problem(latent)
    estimator = make(name, latent)
    _, loss = step(estimator, logits, f)
    loss.backward()
    assert logits.grad is None
    assert weight.grad is None
    assert all(parameter.grad.isfinite().all() for parameter in estimator.learners[0].parameters())


@pytest.mark.parametrize(("name", "latent"), TUNED)
def test_low_precision_learns_too(name, latent):
    logits, weight, _ = problem(latent)
    logits, weight = (x.detach().bfloat16().requires_grad_() for x in (logits, weight))
    estimator = make(name, latent)
    squared, loss = step(estimator, logits, lambda points: (points * weight).flatten(2).sum(-1).float().sin())
    torch.testing.assert_close(loss.detach().float(), squared.float(), rtol=0.05, atol=1e-3)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in estimator.learners[0].parameters())


def test_a_step_between_the_draw_and_the_surrogate_does_no_harm():
    """The gradient belongs to the temperature at which f was evaluated."""
    logits, _, f = problem("categorical")
    estimator = dg.REBAR(0.5, learn=True)
    draw = estimator.sample(logits)
    values = f(draw.points)
    gradients = []
    for temperature in (0.5, 0.8):
        estimator.learners[0].log_temperature.data.fill_(temperature).log_()
        gradients.append(torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits, retain_graph=True)[0])
    assert torch.equal(*gradients)


class FittedToItsOwnDraw(dg.DoubleTaylor):
    """The coefficient that makes this very estimate shortest."""

    def subtract_from(self, evaluation):
        at_zero, at_one = (dg.DoubleTaylor(c).subtract_from(evaluation) for c in (0.0, 1.0))
        start, end = (self.estimate(evaluation, residual) for residual in (at_zero, at_one))
        change = end - start
        dims = tuple(range(1, change.ndim)) if evaluation.values.ndim > 1 else tuple(range(change.ndim))
        best = -(start * change).sum(dims) / change.square().sum(dims).clamp_min(1e-300)
        values = at_zero.values + best * (at_one.values - at_zero.values)
        return at_zero._replace(values=values, added_back=best.reshape(-1, 1, 1) * at_one.added_back)

    def estimate(self, evaluation, residual):
        indices = evaluation.draw.indices
        values = residual.values.reshape(*residual.values.shape, *[1] * (indices.ndim - residual.values.ndim))
        return dg.Score().gradient(evaluation.draw.drawn, values, centred=True) + residual.added_back


def test_a_coefficient_fitted_before_use_is_biased():
    f, logits = curved(2), torch.randn(2, 3, dtype=torch.float64)
    estimator = dg.Composition(dg.Independent(2), dg.Score(), FittedToItsOwnDraw())
    truth = dg.exact.gradient(f, logits)
    assert (dg.exact.moments(estimator, f, logits).mean - truth).norm() > 0.05 * truth.norm()


@pytest.mark.parametrize(("name", "latent"), TUNED)
def test_nothing_is_learned_without_gradients(name, latent):
    logits, _, f = problem(latent)
    estimator = make(name, latent)
    with torch.no_grad():
        draw = estimator.sample(logits)
        values = f(draw.points)
        assert estimator.learners[0].loss(draw, values) == 0
    estimator.learners[0].requires_grad_(False)
    assert step(estimator, logits, f)[1] == 0


@pytest.mark.parametrize(("name", "latent"), TUNED)
def test_padding_does_not_reach_the_loss(name, latent):
    """A batch element that is all padding, whose values and logits are NaN."""
    logits, _, f = problem(latent)
    estimator = make(name, latent)
    mask = torch.tensor([True, True, True, False, True]).unsqueeze(-1)
    padded = logits.detach().clone()
    padded[3] = torch.nan

    def g(points):
        return torch.where(mask.squeeze(-1), f(points), torch.nan)

    squared, loss = step(estimator, padded.requires_grad_(), g, mask)
    torch.testing.assert_close(loss.detach(), squared, rtol=1e-6, atol=0)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in estimator.learners[0].parameters())


@pytest.mark.parametrize(("name", "latent"), TUNED)
def test_extreme_logits_leave_the_loss_finite(name, latent):
    if latent == "bernoulli":
        logits = torch.tensor([[1e4, -1e4], [torch.inf, -torch.inf], [0.0, 30.0]])
    else:
        logits = torch.tensor([[1e4, -1e4, 0.0, 0.0], [-torch.inf, 3.0, -torch.inf, 2.0]]).unsqueeze(1)
    estimator = make(name, latent)
    dims = logits.ndim - 1
    squared, loss = step(estimator, logits.requires_grad_(), lambda points: points.square().flatten(-dims).sum(-1))
    torch.testing.assert_close(loss.detach().float(), squared)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in estimator.learners[0].parameters())


def train(estimator, logits, f, steps, rate):
    module = estimator.learners[0].double()
    optimizer = torch.optim.Adam(module.parameters(), rate)
    many = logits.expand(64, *logits.shape).clone().requires_grad_()
    for _ in range(steps):
        draw = estimator.sample(many)
        values = f(draw.points)
        optimizer.zero_grad()
        module.loss(draw, values).backward()
        optimizer.step()


def curved(variables):
    table = table_function(variables, 3)
    weight = torch.randn(variables, 3, dtype=torch.float64)

    def f(points):
        flat = points.flatten(0, points.ndim - 3)
        return (table(flat) + 4 * (flat * weight).sum((-1, -2))).reshape(points.shape[:-2])

    return f


def test_a_learned_coefficient_finds_the_best_one():
    """The exact variance is a parabola in the coefficient; learning from 0 ends within 1 % of its minimum."""
    f, logits = curved(2), torch.randn(2, 3, dtype=torch.float64)

    def variance(coefficient):
        return dg.exact.moments(dg.DoubleCV(2, coefficient), f, logits).total_variance

    at_minus, at_zero, at_plus = variance(-1.0), variance(0.0), variance(1.0)
    second = (at_plus + at_minus) / 2 - at_zero
    least = at_zero - (at_plus - at_minus).square() / (16 * second)
    estimator = dg.DoubleCV(2, 0.0, learn=True)
    train(estimator, logits, f, 400, 0.02)
    assert dg.exact.moments(estimator, f, logits).total_variance < 1.01 * least < 0.8 * at_zero


def test_learned_surrogates_beat_leave_one_out():
    """The exact variance of RODEO, whose network starts as RLOO, falls."""
    f, logits = curved(2), torch.randn(2, 3, dtype=torch.float64)
    network = torch.nn.Sequential(torch.nn.Linear(3, 20), torch.nn.LeakyReLU(0.3), torch.nn.Linear(20, 2))
    estimator = dg.RODEO(network=network)
    before = dg.exact.moments(estimator, f, logits).total_variance
    torch.testing.assert_close(before, dg.exact.moments(dg.RLOO(), f, logits).total_variance)
    train(estimator, logits, f, 400, 0.02)
    assert dg.exact.moments(estimator, f, logits).total_variance < 0.5 * before


@pytest.mark.parametrize(
    "make_estimator",
    [
        pytest.param(lambda: dg.REBAR(2.0, 0.1, learn=True), marks=pytest.mark.slow),
        lambda: dg.RELAX(Waves(), 0.5, 0.1),
        pytest.param(lambda: dg.RELAX(Waves(), 0.5, None), marks=pytest.mark.slow),
    ],
)
def test_learned_relaxations_cut_the_variance(make_estimator):
    f, logits = curved(2), torch.randn(2, 3, dtype=torch.float64)
    many = logits.expand(50_000, 2, 3).clone().requires_grad_()

    def variance(estimator):
        return float(torch.autograd.grad(estimator(f, many).sum(), many)[0].var(0).sum())

    estimator = make_estimator()
    before = variance(estimator)
    train(estimator, logits, f, 400, 0.02)
    assert variance(estimator) < 0.8 * before
