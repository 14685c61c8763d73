"""Linear and quadratic control variates: exact gradients of their means, fits, what they are worth, their refusals."""

import pytest
import torch
from catalogue import KINDS, logits_of, relative_bias, table_function

import discretegrad as dg
from discretegrad.control_variate import Evaluation
from discretegrad.ops import polynomial


def quadratic(variables, categories, rank=3):
    """A control variate with a curvature worth mentioning."""
    shape = (variables,) if categories is None else (variables, categories)
    module = dg.nn.QuadraticControlVariate(shape, rank=rank).double()
    with torch.no_grad():
        module.directions.normal_()
        module.gain.fill_(0.8)
    return module


def linear(variables, categories):
    module = dg.nn.LinearControlVariate(shape=(variables, categories)).double()
    with torch.no_grad():
        module.table.normal_()
    return module


def smooth(variables, categories):
    """Not a polynomial of the points, so that nothing is exact by luck."""
    weight = torch.randn(variables, categories, dtype=torch.float64)
    return lambda points: (points * weight).sum((-1, -2)).sin().mul(2).exp()


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_a_quadratic_has_the_gradient_that_is_added_back(kind):
    """Against the gradient of the enumerated mean, with the p inside u held fixed."""
    logits = logits_of(kind, 3, 4)
    p = logits.softmax(-1)
    directions = torch.randn(5, 3, 4, dtype=torch.float64)
    curvatures = torch.randn(5, dtype=torch.float64)

    def h(points):
        along = ((points - p) * directions.unsqueeze(1)).sum((-1, -2))
        return (curvatures.unsqueeze(-1) * along.square()).sum(0) / 2

    coefficients = polynomial.mean_coefficients(directions, curvatures, p)
    got = p * (coefficients - (p * coefficients).sum(-1, keepdim=True))
    torch.testing.assert_close(got, dg.exact.gradient(h, logits), rtol=1e-11, atol=1e-13)
    points = torch.nn.functional.one_hot(torch.randint(4, (7, 3)), 4).double()
    bent_by, half = (
        of(directions.flatten(1), curvatures, (points - p).flatten(1))
        for of in (polynomial.curvature_product, polynomial.half_curvature)
    )
    hessian = torch.einsum("r,ri,rj->ij", curvatures, directions.flatten(1), directions.flatten(1))
    torch.testing.assert_close(bent_by, (points - p).flatten(1) @ hessian, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(half, h(points), rtol=1e-11, atol=1e-13)


COMPOSED = {
    "reinforce": lambda cv: dg.Reinforce(2, baseline=cv),
    "rloo": lambda cv: dg.RLOO(3, control_variate=cv),
    "tree": lambda cv: dg.DisARMTree(control_variate=cv),
    "tree-2-pairs": lambda cv: dg.DisARMTree(2, control_variate=cv),
    "sticks": lambda cv: dg.DisARMSB(order="descending", control_variate=cv),
    "iw": lambda cv: dg.DisARMIW(control_variate=cv),
    "flow": lambda cv: dg.Flow(control_variate=cv),
    "flow-tree": lambda cv: dg.Flow(dg.Tree("huffman"), control_variate=cv),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [linear, quadratic])
@pytest.mark.parametrize("name", list(COMPOSED))
def test_they_compose_with_every_coupling_and_stay_unbiased(name, make, kind):
    estimator = COMPOSED[name](make(2, 3))
    assert estimator.unbiased
    assert relative_bias(estimator, smooth(2, 3), logits_of(kind, 2, 3)) < 1e-10


def test_bernoulli_latents():
    logits = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    table = dg.nn.LinearControlVariate(shape=(3,)).double()
    with torch.no_grad():
        table.table.normal_()
    weight = torch.randn(3, dtype=torch.float64)
    for estimator in (
        dg.RLOO(2, "bernoulli", table),
        dg.DisARM(control_variate=table),
        dg.Reinforce(2, quadratic(3, None), "bernoulli"),
        dg.DisARM(control_variate=quadratic(3, None)),
    ):
        assert relative_bias(estimator, lambda points: (points @ weight).sin().exp(), logits) < 1e-10


def test_an_exact_model_leaves_no_variance():
    """Linear f under its own coefficients, quadratic f under its own curvature: only what is added back is left."""
    logits, weight = logits_of("ordinary", 2, 3), torch.randn(2, 3, dtype=torch.float64)
    module = dg.nn.LinearControlVariate(shape=(2, 3)).double()
    module.table.data = weight
    moments = dg.exact.moments(dg.RLOO(control_variate=module), lambda z: (z * weight).sum((-1, -2)), logits)
    assert moments.total_variance < 1e-25
    curved = dg.nn.QuadraticControlVariate((2, 3), rank=1).double()
    curved.directions.data, curved.curvatures.data = weight.unsqueeze(0), torch.tensor([2.0]).double()

    def f(points):
        return (points * weight).sum((-1, -2)).square()

    moments = dg.exact.moments(dg.RLOO(control_variate=curved), f, logits)
    assert moments.total_variance < 1e-25
    torch.testing.assert_close(moments.mean, dg.exact.gradient(f, logits), rtol=1e-11, atol=1e-13)


def learn(module, estimator, f, logits, steps, rate):
    optimizer = torch.optim.Adam(module.parameters(), rate)
    many = logits.expand(200, *logits.shape).clone().requires_grad_()
    for _ in range(steps):
        draw = estimator.sample(many)
        values = torch.stack([f(points) for points in draw.points])
        estimator.surrogate(draw, values)
        optimizer.zero_grad()
        module.loss(draw, values).backward()
        optimizer.step()


@pytest.mark.parametrize("make", [lambda cv: dg.RLOO(control_variate=cv), lambda cv: dg.Flow(control_variate=cv)])
def test_learned_coefficients_reach_the_best_linear_ones(make):
    """The least-squares fit over the exact law is the oracle; 300 steps come within 5 % of its variance."""
    f, logits = smooth(2, 3), logits_of("ordinary", 2, 3)
    module = dg.nn.LinearControlVariate(shape=(2, 3)).double()
    learn(module, make(module), f, logits, 300, 0.05)
    learnt = dg.exact.moments(make(module), f, logits).total_variance
    everything = dg.Exact().sample(logits)
    p = logits.softmax(-1)
    root = (everything.points * p).sum(-1).prod(-1).sqrt()
    design = torch.cat(((everything.points - p).flatten(1), torch.ones(9, 1).double()), 1)
    best = torch.linalg.lstsq(root.unsqueeze(-1) * design, root * f(everything.points), driver="gelsd").solution
    module.table.data = best[:-1].reshape(2, 3)
    oracle = dg.exact.moments(make(module), f, logits).total_variance
    plain = dg.exact.moments(make(None), f, logits).total_variance
    assert learnt < 1.05 * oracle
    assert oracle < 0.6 * plain, "a linear function should be worth something here, or the test shows nothing"


def test_a_learned_curvature_is_worth_more_than_the_slope_alone():
    f, logits = smooth(3, 3), 0.5 * logits_of("ordinary", 3, 3)
    module = dg.nn.QuadraticControlVariate((3, 3), rank=4).double()
    estimator = dg.Reinforce(baseline=module)
    learn(module, estimator, f, logits, 400, 0.03)
    learnt = dg.exact.moments(estimator, f, logits).total_variance
    muprop = dg.exact.moments(dg.MuProp(), f, logits).total_variance
    assert learnt < 0.7 * muprop


def test_the_fit_reaches_nobody_else():
    """Its loss has no gradient w.r.t. the logits or f's own parameters."""
    logits = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    for module in (linear(2, 3), quadratic(2, 3)):
        estimator = dg.Reinforce(2, baseline=module)
        draw = estimator.sample(logits)
        values = (draw.points * weight).sum((-1, -2)).exp()
        estimator.surrogate(draw, values)
        loss = module.loss(draw, values)
        others = torch.autograd.grad(loss, (logits, weight), allow_unused=True, retain_graph=True)
        assert others == (None, None)
        own = torch.autograd.grad(loss, list(module.parameters()), allow_unused=True)
        assert any(g is not None and g.abs().sum() > 0 for g in own)


def test_networks_of_a_context_or_of_the_log_probabilities():
    logits = torch.randn(5, 2, 3, requires_grad=True)
    context = torch.randn(5, 7)
    for given, width in ((context, 7), (None, 6)):
        for module in (
            dg.nn.LinearControlVariate(torch.nn.Linear(width, 6)),
            dg.nn.QuadraticControlVariate((2, 3), torch.nn.Linear(width, 5), rank=4),
        ):
            estimator = dg.Reinforce(2, baseline=module)
            draw = estimator.sample(logits)
            values = draw.points.square().sum((-1, -2))
            loss = estimator.surrogate(draw, values, given).sum() + module.loss(draw, values, given)
            loss.backward()
            assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_padding_is_not_fitted():
    logits = torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, False, True], [True, False, False, True]])
    for module in (linear(3, 5), quadratic(3, 5)):
        estimator = dg.Reinforce(2, baseline=module)
        draw = estimator.sample(logits, mask=mask.unsqueeze(-1))
        values = torch.where(mask, draw.points.square().sum((-1, -2)), torch.nan)
        surrogate = estimator.surrogate(draw, values)
        (gradient,) = torch.autograd.grad(surrogate.sum(), logits, retain_graph=True)
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()
        fitted = torch.autograd.grad(module.loss(draw, values), list(module.parameters()), allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in fitted)


def test_refusals():
    with pytest.raises(ValueError, match="give one"):
        dg.nn.LinearControlVariate()
    with pytest.raises(ValueError, match="rank must be an integer"):
        dg.nn.QuadraticControlVariate((2, 3), rank=0)
    logits = torch.zeros(5, 2, 3, requires_grad=True)
    for module, sentence in (
        (dg.nn.LinearControlVariate(shape=(2, 4)), r"give LinearControlVariate\(shape=\(2, 3\)\)"),
        (dg.nn.LinearControlVariate(torch.nn.Linear(6, 5)), "a coefficient for each of the logits"),
        (dg.nn.QuadraticControlVariate((3, 3)), r"give QuadraticControlVariate\(shape=\(2, 3\)\)"),
        (dg.nn.QuadraticControlVariate((2, 3), torch.nn.Linear(6, 5), rank=5), "rank \\+ 1"),
    ):
        estimator = dg.Reinforce(baseline=module)
        draw = estimator.sample(logits)
        with pytest.raises(ValueError, match=sentence):
            estimator.surrogate(draw, draw.points.sum((-1, -2)))


def test_an_own_slope_is_biased():
    """Negative control: coefficients that know the point, here f's gradient there, bias the estimate."""

    class Own(dg.nn.LinearControlVariate):
        needs_grad_f = True

        def subtract_from(self, evaluation: Evaluation):
            draw, slopes = evaluation.draw, evaluation.grad_f
            p = evaluation.draw.probs
            one_hots = torch.nn.functional.one_hot(draw.indices, 3).double()
            values = evaluation.values - (slopes * (one_hots - p)).sum((-1, -2))
            weighted = p * slopes.mean(0)
            return dg.control_variate.Residual(values, weighted - p * weighted.sum(-1, keepdim=True))

    estimator = dg.Reinforce(2, baseline=Own(shape=(2, 3)).double())
    assert relative_bias(estimator, smooth(2, 3), logits_of("ordinary", 2, 3)) > 0.01
    assert relative_bias(dg.RLOO(), table_function(2, 3), logits_of("ordinary", 2, 3)) < 1e-10
