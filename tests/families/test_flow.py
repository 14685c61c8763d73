"""Minimum-norm weights: the flow equation, the least norm, closed forms against the solve, nearly distinct pairs."""

import pytest
import torch
from calibration import assert_law
from catalogue import KINDS, logits_of, table_function

import discretegrad as dg
from discretegrad.coupling import PairLaw, PairPoints
from discretegrad.ops import flow

COUPLINGS = {
    "independent": dg.Independent(2),
    "distinct": dg.NearlyDistinct(),
    "balanced": dg.Tree(),
    "huffman": dg.Tree("huffman"),
    "sticks-descending": dg.StickBreaking("descending"),
}


def weights_of(coupling, logits):
    """w(i, j), [C, C, C], read off the gradient at all pairs of ids."""
    c = logits.shape[-1]
    table = torch.zeros(c, c, c, dtype=torch.float64)
    for i in range(c):
        for j in range(c):
            indices, values = torch.tensor([i, j]), torch.tensor([1.0, -1.0], dtype=torch.float64)
            table[i, j] = dg.MinimumNorm().gradient(coupling.at(logits, None, indices), values)
    return table


def brute_force(law, p):
    """The least-norm solution of the flow equation, by a general pseudo-inverse."""
    laplacian = torch.diag(law.sum(-1)) - law
    phi = torch.linalg.pinv(laplacian, rtol=1e-12) @ (torch.diag(p) - torch.outer(p, p))
    return phi[:, None] - phi[None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("categories", [2, 3, 5, 8])
@pytest.mark.parametrize("name", list(COUPLINGS))
def test_weights_carry_what_every_category_injects(name, categories, kind):
    """sum_j r(i, j) w(i, j) = p_i (e_i - p): no bias whatever f is."""
    coupling, logits = COUPLINGS[name], logits_of(kind, 1, categories)[0]
    p = logits.softmax(-1)
    carried = (coupling.draw(logits).pair_law().unsqueeze(-1) * weights_of(coupling, logits)).sum(1)
    injected = p.unsqueeze(-1) * (torch.eye(categories) - p)
    torch.testing.assert_close(carried, injected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", list(COUPLINGS))
def test_weights_have_the_least_norm(name):
    coupling, logits = COUPLINGS[name], logits_of("ordinary", 1, 5)[0]
    law, p = coupling.draw(logits).pair_law(), logits.softmax(-1)
    possible = (law > 0).unsqueeze(-1)
    got, expected = weights_of(coupling, logits), brute_force(law, p)
    torch.testing.assert_close(
        torch.where(possible, got, 0.0), torch.where(possible, expected, 0.0), rtol=1e-9, atol=1e-10
    )


def test_rao_blackwell_weights_are_no_shorter():
    """The tree's own weights solve the same equation, and have a larger norm."""
    logits = logits_of("ordinary", 1, 5)[0]
    f = table_function(1, 5)
    tree, least = dg.DisARMTree(), dg.Flow(dg.Tree())
    for estimator in (tree, least):
        mean = dg.exact.moments(estimator, f, logits.unsqueeze(0)).mean
        torch.testing.assert_close(mean, dg.exact.gradient(f, logits.unsqueeze(0)), rtol=1e-11, atol=1e-13)
    coupling = dg.Tree()
    law = coupling.draw(logits).pair_law()
    norms = []
    for weights in (dg.RaoBlackwell(), dg.MinimumNorm()):
        total = 0.0
        for i in range(5):
            for j in range(5):
                values = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
                g = weights.gradient(coupling.at(logits.unsqueeze(0), None, torch.tensor([[i], [j]])), values)
                total += float(law[i, j] * g.square().sum()) if i != j else 0.0
        norms.append(total)
    assert norms[1] < norms[0]


def test_closed_forms_are_what_the_solve_gives():
    for coupling in (dg.Independent(4), dg.NearlyDistinct()):
        logits = torch.stack([logits_of(kind, 1, 6)[0] for kind in KINDS])
        probs = logits.softmax(-1)
        indices = torch.randint(6, (2, 3))
        indices = torch.where(probs.expand(2, 3, 6).gather(-1, indices.unsqueeze(-1)).squeeze(-1) > 0, indices, 0)
        indices = torch.where(torch.tensor([True, False, True]), indices, torch.tensor([[1, 3, 2], [4, 5, 1]]))
        half = torch.randn(3, dtype=torch.float64)
        coefficients = torch.stack((half, -half))
        drawn = coupling.at(logits, None, indices)
        closed = drawn.flow(coefficients)
        solved = flow.potential(probs, drawn.pair_law(), indices, coefficients)
        torch.testing.assert_close(closed, solved, rtol=1e-6, atol=1e-10)


SHAPES = [
    ("balanced", None),
    ("balanced", "descending"),
    ("caterpillar", None),
    ("caterpillar", "ascending"),
    ("caterpillar", "descending"),
    ("huffman", None),
    ("user", None),
    ("user", "abs"),
]


def user_tree(categories):
    """Of the leaves out of sequence, each step joins the third node with the first: neither balanced nor deep."""
    nodes = torch.randperm(categories, generator=torch.Generator().manual_seed(categories)).tolist()
    while len(nodes) > 1:
        first, third = nodes.pop(0), nodes.pop(min(1, len(nodes) - 1))
        nodes.append((third, first))
    return nodes[0]


@pytest.mark.parametrize("implementation", ["reference", "fused"])
@pytest.mark.parametrize("categories", [1, 2, 3, 5, 8, 63])
@pytest.mark.parametrize(("shape", "order"), SHAPES)
def test_a_tree_has_the_flow_that_the_solve_gives(shape, order, categories, implementation):
    """Also where categories are forbidden or all but certain, equally likely, or beyond what float64 can hold."""
    coupling = dg.Tree(user_tree(categories) if shape == "user" else shape, order)
    logits = 1.5 * torch.randn(6, 20, categories, dtype=torch.float64)
    logits[1, :, 0] += 9.0
    logits[2] = torch.where(torch.rand(20, categories) < 0.3, -torch.inf, logits[2])
    logits[2, :, -1] = 0.0
    logits[3] = 0.0
    logits[4] *= 10.0
    logits[5] *= 1e4
    with dg.ops.using(implementation):
        law = coupling.draw(logits).pair_law()
        assert flow.connected(law).all(), "a tree connects what can be drawn"
        for points in (2, 3):  # a pair that the tree draws, and points that it does not
            source = dg.Independent(3) if points == 3 else coupling
            indices = source.draw(logits).indices
            coefficients = torch.randn(points, 6, 20, dtype=torch.float64)
            coefficients -= coefficients.mean(0)
            drawn = coupling.at(logits, None, indices)
            expected = flow.potential(drawn.probs, law, indices, coefficients)
            torch.testing.assert_close(drawn.flow(coefficients), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("implementation", ["reference", "fused"])
@pytest.mark.parametrize(("shape", "order"), SHAPES)
def test_the_flow_of_a_tree_in_float32(shape, order, implementation):
    """Nothing cancels: it is right to rounding of the coefficients."""
    coupling = dg.Tree(user_tree(16) if shape == "user" else shape, order)
    logits = torch.randn(3, 200, 16) * torch.tensor([1.0, 5.0, 50.0])[:, None, None]
    with dg.ops.using(implementation):
        drawn = coupling.draw(logits)
        half = torch.randn(3, 200)
        got = drawn.flow(torch.stack((half, -half)))
    wide = coupling.at(logits.double(), None, drawn.indices).flow(torch.stack((half, -half)).double())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wide.float(), rtol=0, atol=3e-6)


def test_identities():
    """Independent points give RLOO, two categories DisARM."""
    logits = torch.randn(7, 3, 5, dtype=torch.float64, requires_grad=True)
    values = torch.randn(4, 7, dtype=torch.float64)
    indices = dg.RLOO(4).sample(logits).indices

    def gradient(estimator, x, ids, v):
        draw = dg.draw.given(x, ids, dg.latent.LATENTS[estimator.latent])
        return torch.autograd.grad(estimator.surrogate(draw, v).sum(), x)[0]

    torch.testing.assert_close(
        gradient(dg.Flow(dg.Independent(4)), logits, indices, values),
        gradient(dg.RLOO(4), logits, indices, values),
        rtol=1e-11,
        atol=1e-13,
    )
    bits = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    ids = dg.DisARM(2).sample(bits).indices
    expected = gradient(dg.DisARM(2), bits, ids, values)
    for coupling in (dg.Antithetic(2), dg.NearlyDistinct(2)):
        got = gradient(dg.Flow(coupling, latent="bernoulli"), bits, ids, values)
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kind", [*KINDS, "half", "nearly half", "equal", "twins"])
@pytest.mark.parametrize("categories", [1, 2, 3, 8, 100])
def test_nearly_distinct_law(categories, kind):
    """Symmetric, both marginals p, equal points only of a category with more than half, a product elsewhere."""
    if kind in KINDS:
        logits = logits_of(kind, 1, categories)[0]
    elif kind == "equal" or categories < 3:
        logits = torch.zeros(categories, dtype=torch.float64)
    else:
        p = torch.rand(categories, dtype=torch.float64)
        if kind == "twins":
            p[:2] = p.sum()
        else:
            p[0] = p[1:].sum() * (1 if kind == "half" else 1 - 1e-12)
        logits = p.log()
    p = logits.softmax(-1)
    law = dg.NearlyDistinct().draw(logits).pair_law()
    assert (law >= 0).all()
    torch.testing.assert_close(law, law.T, rtol=0, atol=0)
    torch.testing.assert_close(law.sum(-1), p, rtol=1e-12, atol=1e-15)
    equal = law.diagonal()
    torch.testing.assert_close(equal, (2 * p - 1).clamp_min(0.0), rtol=1e-12, atol=1e-15)
    if categories > 3 and p.max() < 0.49:
        minor = law[0, 2] * law[1, 3] - law[0, 3] * law[1, 2]
        assert minor.abs() < 1e-14


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearly_distinct_points_have_that_law(dtype, kind):
    coupling, logits = dg.NearlyDistinct(), logits_of(kind, 1, 5)[0]
    first, second = coupling.draw(logits.to(dtype).expand(400_000, 5)).indices
    law = coupling.law(logits).probabilities
    assert_law(first * 5 + second, law, comparisons=6)


def test_distinct_pairs_win_on_noise():
    """A random f is mostly noise to a single variable: a pair has less variance than two independent points."""
    logits = logits_of("ordinary", 2, 4)
    f = table_function(2, 4)
    flow_, rloo = (dg.exact.moments(e, f, logits).total_variance for e in (dg.Flow(), dg.RLOO()))
    assert flow_ < rloo


class Halves(PairPoints):
    """Two halves that never meet."""

    def pair_law(self):
        p = self.probs
        half = torch.arange(p.shape[-1]) < p.shape[-1] // 2
        blocks = [torch.where(side, p, 0.0) for side in (half, ~half)]
        return sum(b.unsqueeze(-1) * b.unsqueeze(-2) / b.sum(-1)[..., None, None] for b in blocks)


class Disconnected(dg.Independent):
    """Pairs from one half or from the other."""

    pairs = PairLaw(connected=False, closed=False)

    def draw(self, logits, mask=None, generator=None, check=None):
        return Halves(super().draw(logits).indices, logits, None, self)


def test_a_coupling_that_does_not_connect_the_categories_is_refused():
    estimator = dg.Flow(Disconnected(2))
    draw = estimator.sample(torch.zeros(3, 4, requires_grad=True))
    with pytest.raises(ValueError, match="do not connect"):
        estimator.surrogate(draw, torch.zeros(2))
    with pytest.raises(ValueError, match="exchangeable, all or in pairs"):
        dg.Flow(dg.Enumerate())
    with pytest.raises(ValueError, match="at least 2 points"):
        dg.Flow(dg.Independent(1))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0, -0.5])
@pytest.mark.parametrize(
    "make", [lambda a: dg.DisARMTree(2, alpha=a), lambda a: dg.Flow(dg.NearlyDistinct(2), alpha=a)]
)
def test_any_share_is_unbiased(make, alpha):
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    truth = dg.exact.gradient(f, logits)
    torch.testing.assert_close(dg.exact.moments(make(alpha), f, logits).mean, truth, rtol=1e-10, atol=1e-12)


def test_an_estimated_share_nears_the_best():
    """After 200 steps of 500 elements the variance is within 1 % of the best alpha's, which the exact moments give."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)

    def variance(alpha):
        return float(dg.exact.moments(dg.DisARMTree(2, alpha=alpha), f, logits).total_variance)

    zero, half, one = variance(0.0), variance(0.5), variance(1.0)  # a parabola in alpha
    curvature, slope = 2 * (one - 2 * half + zero), 4 * half - one - 3 * zero
    best = variance(-slope / (2 * curvature))
    share = dg.nn.EstimatedShare(0.99)
    estimator = dg.DisARMTree(2, alpha=share)
    assert estimator.learners == (share,)
    many = logits.expand(500, 2, 3).clone().requires_grad_()
    for _ in range(200):
        draw = estimator.sample(many)
        values = torch.stack([f(points) for points in draw.points])
        estimator.surrogate(draw, values).sum().backward()
        share.update(draw, values)
    assert variance(float(share.share(0.0))) < 1.01 * best
    assert variance(1.0) > 1.05 * best, "averaging the pairs should be worse here, or the test shows nothing"


def test_a_share_that_is_none_is_refused():
    for wrong in ("half", True, float("nan")):
        with pytest.raises(ValueError, match="alpha is a number"):
            dg.DisARMTree(2, alpha=wrong)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("categories", "variables", "points"), [(3, 2, 3), (5, 1, 3), (2, 2, 4), (1, 2, 3)])
def test_more_than_two_exchangeable_points(categories, variables, points, kind):
    """Points of a copula, by enumeration of their joint law: the weights need the law of two of them only."""
    f, logits = table_function(variables, categories), logits_of(kind, variables, categories)
    mean = dg.exact.moments(dg.Flow(dg.Copula(points)), f, logits).mean
    torch.testing.assert_close(mean, dg.exact.gradient(f, logits), rtol=1e-10, atol=1e-14)


def test_two_categories_of_a_copula_are_arms():
    logits = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    draw = dg.ARMS(4).sample(logits)
    values = torch.randn(4, 7, dtype=torch.float64)
    flow_ = dg.Flow(dg.Copula(4), latent="bernoulli")
    gradients = [torch.autograd.grad(e.surrogate(draw, values).sum(), logits)[0] for e in (dg.ARMS(4), flow_)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-13)
