"""MuProp, double control variates and RODEO: published formulas, identities, and what happens where they are wrong."""

import pytest
import torch
from catalogue import logits_of, rodeo, table_function

import discretegrad as dg
from discretegrad.control_variate import Residual
from discretegrad.control_variate.taylor import OthersTaylor
from discretegrad.ops import taylor as taylor_ops


def smooth(latent, batch=6):
    """Logits, and an f of all three variables that is curved and not symmetric."""
    tail = (3,) if latent == "bernoulli" else (3, 4)
    logits = torch.randn(batch, *tail, dtype=torch.float64)
    weight = torch.randn(tail, dtype=torch.float64)
    return (
        logits,
        lambda points: (points * weight).flatten(-len(tail)).sum(-1).sin() + points.flatten(-len(tail)).std(-1),
    )


def affine(variables, categories):
    weight = torch.randn(variables, categories, dtype=torch.float64)
    return lambda points: (points * weight).sum((-1, -2)) + 3.0


def estimate(estimator, f, logits, seed=0):
    leaf = logits.clone().requires_grad_()
    draw = estimator.sample(leaf, torch.Generator().manual_seed(seed))
    loss = estimator.surrogate(draw, f(draw.points))
    return draw, torch.autograd.grad(loss.sum(), leaf)[0]


def probabilities(logits, latent):
    return logits.sigmoid() if latent == "bernoulli" else logits.softmax(-1)


def jacobian(probs, vector, latent):
    """The derivative of p w.r.t. the logits, times a vector."""
    if latent == "bernoulli":
        return probs * (1 - probs) * vector
    full = torch.diag_embed(probs) - probs.unsqueeze(-1) * probs.unsqueeze(-2)
    return (full @ vector.unsqueeze(-1)).squeeze(-1)


def slope(f, point):
    point = point.detach().clone().requires_grad_()
    value = f(point)
    return value.detach(), torch.autograd.grad(value.sum(), point)[0]


def inner(a, b, batch_dims=1):
    return (a * b).flatten(batch_dims).sum(-1)


def wide(values, like):
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


LATENTS = ["categorical", "bernoulli"]


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("latent", LATENTS)
def test_muprop_is_its_published_formula(latent, points):
    """(f(x) - f(m) - f'(m) (x - m)) d log q(x) + f'(m) dm, averaged over the points."""
    logits, f = smooth(latent)
    draw, got = estimate(dg.MuProp(points, latent), f, logits)
    mean = probabilities(logits, latent)
    at_mean, gradient = slope(f, mean)
    expected = jacobian(mean, gradient, latent)
    for x in draw.points[:points].detach():
        left = f(x) - at_mean - inner(gradient, x - mean)
        expected = expected + wide(left, x) * (x - mean) / points
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("points", [2, 3, 4])
@pytest.mark.parametrize("latent", LATENTS)
def test_double_control_variates_are_their_published_formula(latent, points):
    """f(x_k) + b_k less the mean of f(x_j) + b_j over j != k, on the score of x_k; less the mean of b's gradient."""
    logits, f = smooth(latent)
    alpha = -0.7
    draw, got = estimate(dg.DoubleCV(points, 0.7, latent=latent), f, logits)
    x, theta = draw.points.detach(), probabilities(logits, latent)
    slopes = [slope(f, one)[1] for one in x]
    others = [[j for j in range(points) if j != k] for k in range(points)]
    mean_slope = [sum(slopes[j] for j in others[k]) / (points - 1) for k in range(points)]
    b = [alpha * inner(mean_slope[k], x[k] - theta) for k in range(points)]
    expected = torch.zeros_like(logits)
    for k in range(points):
        baseline = sum(f(x[j]) + b[j] for j in others[k]) / (points - 1)
        expected += wide(f(x[k]) + b[k] - baseline, logits) * (x[k] - theta) / points
        expected -= alpha * jacobian(theta, mean_slope[k], latent) / points
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


def neighbours(x, probs, latent):
    """All points that differ from x in one variable at most, with their Gibbs probabilities, variable by variable."""
    for v in range(3):
        for c in range(2 if latent == "bernoulli" else 4):
            y = x.clone()
            if latent == "bernoulli":
                y[:, v] = c
                yield v, y, probs[:, v] if c else 1 - probs[:, v]
            else:
                y[:, v] = torch.nn.functional.one_hot(torch.tensor(c), 4).double()
                yield v, y, probs[:, v, c]


@pytest.mark.parametrize("kind", ["linear", "network"])
@pytest.mark.parametrize("points", [2, 3])
@pytest.mark.parametrize("latent", LATENTS)
def test_rodeo_is_its_published_formula(latent, points, kind):
    """The Gibbs operator as a sum over all neighbours, on h and on h' times the score of the neighbour."""
    logits, f = smooth(latent)
    estimator = dg.RODEO(points, latent=latent) if kind == "linear" else rodeo(points, latent)
    alpha, beta = (1.0, 0.5) if kind == "linear" else (0.8, 0.6)
    draw, got = estimate(estimator, f, logits)
    x, theta = draw.points.detach(), probabilities(logits, latent)
    values, slopes = zip(*(slope(f, one) for one in x), strict=True)

    def surrogates(k, y):
        outputs = []
        for j in range(points):
            if j != k:
                features = (values[j], inner(slopes[j], y - x[j]), inner(slopes[j], y - theta))
                if kind == "linear":
                    outputs.append(torch.stack((features[2], features[2])))
                else:
                    outputs.append(estimator.learners[0].network(torch.stack(features, -1)).detach().movedim(-1, 0))
        return torch.stack(outputs).mean(0)

    operator, second = [], []
    for k in range(points):
        h, h_score = 0.0, 0.0
        at_x = surrogates(k, x[k])
        for _, y, probability in neighbours(x[k], theta, latent):
            at_y = surrogates(k, y)
            h = h + probability * (at_y[0] - at_x[0])
            h_score = h_score + wide(probability, y) * (
                wide(at_y[1], y) * (y - theta) - wide(at_x[1], y) * (x[k] - theta)
            )
        operator.append(h)
        second.append(h_score)
    expected = torch.zeros_like(logits)
    for k in range(points):
        baseline = sum(values[j] + alpha * operator[j] for j in range(points) if j != k) / (points - 1)
        expected += (wide(values[k] - baseline, logits) * (x[k] - theta) + beta * second[k]) / points
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("points", [2, 3])
def test_without_their_coefficients_they_are_leave_one_out(points, latent):
    logits, f = smooth(latent)
    _, rloo = estimate(dg.RLOO(points, latent), f, logits)
    learned = dg.Composition(dg.Independent(points), dg.Score(), dg.nn.LearnedStein(), latent)
    stein = dg.Composition(dg.Independent(points), dg.Score(), dg.Stein(0.0, 0.0), latent)
    for estimator in (dg.DoubleCV(points, 0.0, latent=latent), stein, learned):
        torch.testing.assert_close(estimate(estimator, f, logits)[1], rloo, rtol=1e-11, atol=1e-13)


def of_one_layer(network, latent="categorical", points=2):
    """RODEO with a network whose coefficients have left 0, in double."""
    estimator = dg.RODEO(points, network, latent)
    learned = estimator.learners[0].double()
    learned.inner.data.fill_(0.8)
    learned.outer.data.fill_(0.6)
    return estimator


def paper_s(rectifier):
    return torch.nn.Sequential(torch.nn.Linear(3, 5), rectifier, torch.nn.Linear(5, 2)).double()


@pytest.mark.parametrize("rectifier", [torch.nn.LeakyReLU(0.3), torch.nn.ReLU()])
@pytest.mark.parametrize("latent", LATENTS)
def test_a_network_of_one_hidden_layer_is_itself_in_kernels(latent, rectifier):
    """The gradient, and what is learned, are those by torch: within another network it is not known."""
    logits, f = smooth(latent)
    known = paper_s(rectifier)
    results = []
    for network in (known, torch.nn.Sequential(known)):
        estimator = of_one_layer(network, latent, 3)
        leaf = logits.clone().requires_grad_()
        draw = estimator.sample(leaf, torch.Generator().manual_seed(1))
        values = f(draw.points)
        loss = estimator.surrogate(draw, values).sum() + estimator.learners[0].loss(draw, values)
        results.append(torch.autograd.grad(loss, (leaf, *estimator.learners[0].parameters())))
    assert results[1][-1].abs().max() > 0
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_a_network_of_one_hidden_layer_is_unbiased():
    logits, f = logits_of("ordinary", 2, 3), lambda points: points[..., 0].sum(-1).sin() + points[..., 1].prod(-1)
    moments = dg.exact.moments(of_one_layer(paper_s(torch.nn.LeakyReLU(0.3))), f, logits)
    torch.testing.assert_close(moments.mean, dg.exact.gradient(f, logits), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("change", ["hook", "no bias", "autocast"])
def test_a_network_that_does_more_is_called(change):
    network = paper_s(torch.nn.LeakyReLU(0.3)).float()
    called = []
    if change == "no bias":
        network[2] = torch.nn.Linear(5, 2, bias=False)
    if change == "hook":
        network[1].register_forward_hook(lambda *_: called.append("hook"))
    learned = dg.nn.LearnedStein(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        got, expected = learned.surrogates(torch.randn(7, 3)), network(torch.randn(7, 3))
    assert got.shape == expected.shape
    assert len(called) == (2 if change == "hook" else 0)
    graph = got.grad_fn if change != "autocast" else got.grad_fn.next_functions[0][0]
    assert "Perceptron" not in graph.name()


@pytest.mark.parametrize("kind", ["ordinary", "forbidden", "saturated"])
def test_on_affine_functions_taylor_expansions_leave_no_variance(kind):
    f, logits = affine(2, 3), logits_of(kind, 2, 3)
    for estimator in (dg.MuProp(), dg.MuProp(2), dg.DoubleCV(), dg.DoubleCV(3)):
        moments = dg.exact.moments(estimator, f, logits)
        assert moments.total_variance < 1e-24
        torch.testing.assert_close(moments.mean, dg.exact.gradient(f, logits), rtol=1e-12, atol=1e-14)


def test_on_affine_functions_rodeo_does_not_see_the_other_variables():
    """The variance of a variable's gradient is what it is without the others; that of RLOO grows with them."""
    weight = torch.randn(3, 2, dtype=torch.float64)
    logits = torch.randn(3, 2, dtype=torch.float64)

    def variance(estimator, variables):
        f = lambda points: (points * weight[:variables]).sum((-1, -2))  # noqa: E731
        return dg.exact.moments(estimator, f, logits[:variables]).covariance.diagonal()[:2].sum()

    torch.testing.assert_close(variance(dg.RODEO(), 3), variance(dg.RODEO(), 1), rtol=1e-10, atol=0)
    assert variance(dg.RLOO(), 3) > 1.5 * variance(dg.RLOO(), 1)


def test_the_expansion_around_the_mean_goes_with_every_coupling():
    """On affine f nothing is left of the values of antithetic points either, nor of sticks."""
    f, logits = affine(2, 3), logits_of("ordinary", 2, 3)
    for coupling, weights in ((dg.Tree(), dg.RaoBlackwell()), (dg.StickBreaking("ascending"), dg.Importance())):
        moments = dg.exact.moments(dg.Composition(coupling, weights, dg.Taylor()), f, logits)
        assert moments.total_variance < 1e-24


class OwnSlope(dg.DoubleTaylor):
    """A Taylor term with the gradients of all points, the own one included."""

    def subtract_from(self, evaluation):
        draw, values, probs = evaluation.draw, evaluation.values, evaluation.draw.probs
        slopes = evaluation.grad_f.mean(0)
        linear = taylor_ops.at(slopes, draw.indices) - taylor_ops.at_mean(slopes, probs)
        values = values - linear.flatten(values.ndim).sum(-1)
        centred = (values - values.mean(0)) * (len(values) / (len(values) - 1))
        return Residual(centred, taylor_ops.gradient_of_mean(slopes, probs))


class NothingBack(OthersTaylor):
    """The linear term is subtracted and its mean gradient forgotten."""

    coefficient = 1.0

    def subtract_from(self, evaluation):
        return Residual(super().subtract_from(evaluation).values)


class MeanBack(dg.Taylor):
    """The gradient at the mean itself is added back, without the softmax's Jacobian."""

    def subtract_from(self, evaluation):
        residual = super().subtract_from(evaluation)
        return residual._replace(added_back=evaluation.grad_f[-1])


class OwnStein(dg.Stein):
    """A surrogate made from all points, the own one included."""

    def subtract_from(self, evaluation):
        everyone = evaluation.grad_f.mean(0, keepdim=True).expand_as(evaluation.grad_f)
        return super().subtract_from(evaluation._replace(grad_f=everyone))


@pytest.mark.parametrize(
    ("points", "wrong"),
    [(2, OwnSlope()), (2, NothingBack()), (1, MeanBack()), (2, OwnStein())],
    ids=lambda value: type(value).__name__,
)
def test_known_wrong_control_variates_fail(points, wrong):
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    curved = lambda points: f(points.square() + 0.3 * points)  # noqa: E731
    estimator = dg.Composition(dg.Independent(points), dg.Score(), wrong)
    truth = dg.exact.gradient(curved, logits)
    assert (dg.exact.moments(estimator, curved, logits).mean - truth).norm() > 0.01 * truth.norm()


@pytest.mark.parametrize("control_variate", [dg.DoubleTaylor(), dg.Stein(), dg.nn.LearnedTaylor()])
def test_others_must_be_there_and_independent(control_variate):
    with pytest.raises(ValueError, match="num_samples must be at least 2"):
        dg.Composition(dg.Independent(1), dg.Score(), control_variate)
    with pytest.raises(ValueError, match="use coupling=Independent"):
        dg.Composition(dg.Tree(), dg.Score(), control_variate)


def test_a_network_of_surrogates_of_the_wrong_shape_is_refused():
    logits = torch.zeros(4, 2, 3, requires_grad=True)
    with pytest.raises(ValueError, match=r"map \[..., 3\] to \[..., 2\]"):
        dg.RODEO(network=torch.nn.Linear(3, 1))(lambda points: points.square().sum((-1, -2)), logits)


def test_gradients_at_impossible_categories_do_not_matter():
    """f's slope is infinite at a category that is forbidden."""
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [0.3, 0.2, -torch.inf]], dtype=torch.float64)
    mild = table_function(2, 3)

    def f(points):
        return mild(points) + points[..., 0, 1].clamp_min(0).sqrt()

    truth = dg.exact.gradient(mild, logits)
    for estimator in (dg.MuProp(), dg.DoubleCV(), dg.RODEO(), rodeo(2)):
        moments = dg.exact.moments(estimator, f, logits)
        torch.testing.assert_close(moments.mean, truth, rtol=1e-9, atol=1e-12)
