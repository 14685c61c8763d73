"""ARS, ARSM and their less noisy forms: published formulas, exact integrals, wrong variants."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from catalogue import SWAPPERS, drawn_where, gradient, logits_of, relative_bias, sample, table_function

import discretegrad as dg
from discretegrad.coupling.mirrored import MirroredBits
from discretegrad.coupling.swaps import SwapsLaw
from discretegrad.ops import swap as swap_ops


def brute_force(logits, noise, f):
    """`F[c][j]`, f where every variable's noise has c and j swapped: by permuting it, one swap at a time."""
    categories = logits.shape[-1]
    table = torch.empty(categories, categories, logits.shape[0], dtype=logits.dtype)
    for c, j in itertools.product(range(categories), repeat=2):
        order = list(range(categories))
        order[c], order[j] = j, c
        winners = (noise[..., order].log() - logits).argmin(-1)
        table[c, j] = f(torch.nn.functional.one_hot(winners, categories).to(logits.dtype))
    return table


def points_of(draw):
    """All that the swaps gave."""
    return draw.drawn.points if draw.distinct is not None else draw.drawn


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("categories", [2, 3, 4, 7])
def test_published_formulas(categories, distinct):
    """ARS and ARSM as the paper writes them, one swap at a time."""
    logits = torch.randn(40, 3, categories, dtype=torch.float64)
    weight = torch.randn(3, categories, dtype=torch.float64)

    def f(points):
        return (points * weight).sum((-1, -2)).exp()

    draw = sample(dg.ARSM(distinct=distinct), logits)
    noise = points_of(draw).log_noise.exp()
    torch.testing.assert_close(noise.sum(-1), torch.ones(40, 3).double(), rtol=1e-12, atol=0)
    table = brute_force(logits, noise, f)
    total = torch.zeros_like(logits)
    for j in range(categories):
        of_j = torch.zeros_like(logits)
        for c in range(categories):
            difference = table[c, j] - table[:, j].mean(0)
            of_j[..., c] = difference.unsqueeze(-1) * (1 - categories * noise[..., j])
        estimator = dg.ARS(j, distinct=distinct)
        same_noise = sample(estimator, logits)
        got = gradient(estimator, same_noise, f(same_noise.points))
        torch.testing.assert_close(got, of_j, rtol=1e-10, atol=1e-12)
        total += of_j / categories
    got = gradient(dg.ARSM(distinct=distinct), draw, f(draw.points))
    torch.testing.assert_close(got, total, rtol=1e-10, atol=1e-12)


def test_a_random_reference_is_one_for_each_batch_element():
    """Every gradient is that of some fixed reference, given the same noise, and every reference occurs."""
    logits = torch.randn(60, 2, 4, dtype=torch.float64)
    draw = sample(dg.ARS(), logits)
    reference = draw.drawn.reference
    assert torch.equal(reference[:, 0], reference[:, 1])
    assert set(reference[:, 0].tolist()) == set(range(4))
    value = torch.randn(2, 4, dtype=torch.float64)
    got = gradient(dg.ARS(), draw, (draw.points * value).sum((-1, -2)).sin())
    for j in range(4):
        fixed = sample(dg.ARS(j), logits)
        expected = gradient(dg.ARS(j), fixed, (fixed.points * value).sum((-1, -2)).sin())
        torch.testing.assert_close(got[reference[:, 0] == j], expected[reference[:, 0] == j], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("estimator", [dg.ARS(0), dg.ARS(1), dg.ARSM(distinct=False)])
def test_with_two_categories_ars_is_arm(estimator):
    """The uniform is pi_0: the race itself is ARM's first point, the swapped one its second."""
    logits = torch.randn(80, 3, 2, dtype=torch.float64)
    draw = sample(estimator, logits)
    difference = (logits[..., 1] - logits[..., 0]).requires_grad_()
    race_first = estimator != dg.ARS(1)
    indices = draw.indices if race_first else draw.indices.flip(0)
    uniforms = draw.drawn.log_noise[..., 0].exp().unsqueeze(0)
    values = torch.randn(2, 80, dtype=torch.float64)
    bernoulli = dg.latent.LATENTS["bernoulli"]
    bits = MirroredBits(indices, bernoulli.category_logits(difference), None, dg.ARM().coupling, uniforms)
    arm = gradient(dg.ARM(), dg.Draw(difference, bits, bernoulli), values)
    got = gradient(estimator, draw, values if race_first else values.flip(0))
    torch.testing.assert_close(got[..., 1], arm, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(got[..., 0], -arm, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("estimator", [dg.ARSPlus(0), dg.ARSPlus(1), dg.ARSPlus(), dg.ARSMPlus(distinct=False)])
def test_with_two_categories_the_integrated_forms_are_disarm(estimator):
    logits = torch.randn(80, 3, 2, dtype=torch.float64)
    draw = sample(estimator, logits)
    values = torch.randn(2, 80, dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    expected = torch.autograd.grad(dg.functional.disarm_tree(leaf, draw.indices, values).sum(), leaf)[0]
    torch.testing.assert_close(gradient(estimator, draw, values), expected, rtol=1e-9, atol=1e-11)


@dataclass(frozen=True)
class Polygons(dg.Swaps):
    """The exact law for three categories: cells of the simplex between all lines where two times can be equal."""

    def law(self, logits):
        rows = logits.log_softmax(-1)
        variables = [cells(log_probs) for log_probs in rows]
        sizes = [len(areas) for areas, _ in variables]
        noise = torch.cat([centres for _, centres in variables]).log()
        rates = torch.cat([row.expand(size, 3) for row, size in zip(rows, sizes, strict=True)])
        probabilities = torch.block_diag(*[2 * areas.unsqueeze(0) for areas, _ in variables])
        if self.reference == "all":
            outcomes = swap_ops.swapped_winners(noise, rates, *swap_ops.all_swaps(3, noise.device))
        else:
            reference = torch.tensor([self.reference])
            outcomes = swap_ops.swapped_winners(noise, rates, torch.arange(3), reference)
        reference = None if self.reference == "all" else self.reference
        return SwapsLaw(outcomes, probabilities, noise.expand(len(variables), *noise.shape), reference)


def cells(log_probs):
    """Areas and centroids `[M, 3]` of the pieces of the triangle pi_0 + pi_1 < 1, cut along `pi_s = ratio * pi_t`."""
    pieces = [torch.eye(3, dtype=torch.float64)]
    for (s, t), (m, n) in itertools.product(((0, 1), (0, 2), (1, 2)), itertools.permutations(range(3), 2)):
        ratio = (log_probs[m] - log_probs[n]).exp()
        pieces = [part for piece in pieces for part in cut(piece, piece[:, s] - ratio * piece[:, t])]
        pieces = [part for piece in pieces for part in cut(piece, piece[:, s] - piece[:, t])]
    areas, centres = [], []
    for piece in pieces:
        fan = torch.stack([torch.stack((piece[0], piece[i], piece[i + 1])) for i in range(1, len(piece) - 1)])
        u, v = fan[:, 1, :2] - fan[:, 0, :2], fan[:, 2, :2] - fan[:, 0, :2]
        area = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).abs() / 2
        if area.sum() > 0:
            areas.append(area.sum())
            centres.append((area.unsqueeze(-1) * fan.mean(1)).sum(0) / area.sum())
    return torch.stack(areas), torch.stack(centres)


def cut(piece, side):
    """The parts of a convex polygon `[N, 3]` on either side of a line: `side` is a linear function at its corners."""
    for sign in (1, -1):
        corners = []
        for i in range(len(piece)):
            here, there = sign * side[i], sign * side[i - 1]
            if here * there < 0:
                corners.append(piece[i] + (piece[i - 1] - piece[i]) * here / (here - there))
            if here >= 0:
                corners.append(piece[i])
        if len(corners) > 2 and (sign * side).max() > 0:
            yield torch.stack(corners)


@pytest.mark.parametrize(
    ("reference", "weights", "variables"),
    drawn_where([0, 1, 2, "all"], [dg.DirichletScore(), dg.ChangedDirichletScore(integrate=False)], [1, 2]),
)
def test_three_categories_by_exact_integration(weights, reference, variables):
    """Weights linear in pi have their mean at the centroid of a cell: no bias beyond rounding."""
    f, logits = table_function(variables, 3), logits_of("ordinary", variables, 3)
    assert relative_bias(dg.Composition(Polygons(reference), weights), f, logits) < 1e-10


@pytest.mark.parametrize("categories", [2, 3, 4, pytest.param(6, marks=pytest.mark.slow)])
def test_the_integral_is_the_mean_over_noise_with_the_same_points(categories):
    """Other noise held, pi_j over a grid of N quantiles: the two ends of the interval cost 2 / N of its probability."""
    count = 100_000
    swaps, number = swap_ops.all_swaps(categories, torch.device("cpu")), swap_ops.swap_number(categories, None)
    for trial in range(4):
        logits = torch.randn(categories, dtype=torch.float64)
        if trial == 3 and categories > 2:
            logits[1] = -torch.inf
        log_noise = swap_ops.flat_dirichlet(torch.rand(categories, dtype=torch.float64))
        winners = swap_ops.swapped_winners(log_noise, logits, *swaps)
        of_all = swap_ops.integrate_all(log_noise, logits, winners)
        for j in range(categories):
            rest = log_noise.exp()
            rest[j] = 0.0
            quantiles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
            u = quantiles ** (1 / (categories - 1))
            noise = u.unsqueeze(-1) * rest / rest.sum()
            noise[:, j] = 1 - u
            again = swap_ops.swapped_winners(noise.log(), logits.expand(count, categories), *swaps)
            own = number[j]
            of_one = swap_ops.integrate_one(log_noise, logits, torch.tensor(j), winners[own])
            for got, same in (
                (of_all[j], (again == winners).all(-1)),
                (of_one, (again[:, own] == winners[own]).all(-1)),
            ):
                expected = (1 - categories * noise[same, j]).mean()
                assert abs(got - expected) < 2 * categories / same.sum()


@pytest.mark.parametrize("reference", [0, None, "all"])
def test_less_noise_in_the_weights_is_less_variance(reference):
    """Second moments on the same 60,000 draws, by 6 standard errors: integrated < only dropped < plain."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    many = logits.expand(60_000, 2, 3)
    kinds = (
        (dg.ARSM(), dg.ARSMPlus(integrate=False), dg.ARSMPlus())
        if reference == "all"
        else (dg.ARS(reference), dg.ARSPlus(reference, integrate=False), dg.ARSPlus(reference))
    )
    squares = []
    for estimator in kinds:
        draw = sample(estimator, many)
        values = torch.stack([f(points) for points in draw.points])
        squares.append(gradient(estimator, draw, values).square().sum((-1, -2)))
    for noisier, quieter in itertools.pairwise(squares):
        difference = noisier - quieter
        assert difference.mean() > 6 * difference.std() / len(difference) ** 0.5


@dataclass(frozen=True)
class AfterTheSwap(dg.DirichletScore):
    """pi_j read after c and j were swapped: it is pi_c then."""

    def gradient(self, drawn, values, centred=False):
        weights = 1 - drawn.logits.shape[-1] * drawn.log_noise.exp()
        values = (values - values.mean(0)).movedim(0, -1)
        return (weights * values).expand(drawn.probs.shape)


@dataclass(frozen=True)
class UnchangedBySwap(dg.DirichletScore):
    """Weight 0 for single swaps that leave the variable as it was, instead of for variables that no swap changes."""

    def gradient(self, drawn, values, centred=False):
        weights = self.of_one(drawn, drawn.reference)
        kept = drawn.indices != drawn.indices[int(drawn.reference.flatten()[0])]
        return ((values - values.mean(0)) * weights * kept).movedim(0, -1)


@pytest.mark.parametrize("weights", [AfterTheSwap(), UnchangedBySwap()])
def test_known_wrong_weights_fail(weights):
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    assert relative_bias(dg.Composition(Polygons(1), weights), f, logits) > 0.05


def test_the_weight_of_an_unchanged_variable_is_not_zero_in_the_mean():
    """It is dropped because the values do not differ in the mean: with another reason it would be a bias."""
    logits = torch.tensor([1.5, -0.5, 0.2], dtype=torch.float64)
    areas, centres = cells(logits.log_softmax(-1))
    winners = swap_ops.swapped_winners(centres.log(), logits.expand(len(areas), 3), *swap_ops.all_swaps(3, None))
    unchanged = (winners == winners[:, :1]).all(-1)
    mean = (areas[unchanged].unsqueeze(-1) * (1 - 3 * centres[unchanged])).sum(0) / areas[unchanged].sum()
    assert mean.abs().max() > 0.05


def test_noise_is_finite_at_the_ends_of_the_uniforms():
    for dtype in (torch.float32, torch.float64):
        ends = torch.tensor([0.0, 1 - torch.finfo(dtype).eps / 2, 0.5], dtype=dtype)
        uniforms = torch.cartesian_prod(ends, ends, ends)
        log_noise = swap_ops.flat_dirichlet(uniforms)
        assert log_noise.isfinite().all()
        torch.testing.assert_close(log_noise.exp().sum(-1), torch.ones(27, dtype=dtype))
        for rates in ([0.0, 0.0, 0.0], [1e4, -1e4, 0.0], [0.0, -torch.inf, 3.0], [-torch.inf, 0.0, -torch.inf]):
            logits = torch.tensor(rates, dtype=dtype).expand(27, 3)
            winners = swap_ops.swapped_winners(log_noise, logits, *swap_ops.all_swaps(3, None))
            assert (logits.gather(-1, winners) > -torch.inf).all()
            assert swap_ops.integrate_all(log_noise, logits, winners).isfinite().all()


@pytest.mark.parametrize("name", list(SWAPPERS))
def test_a_forbidden_category_has_no_gradient(name):
    logits = torch.randn(50, 2, 4)
    logits[:, 0, 2] = -torch.inf
    logits[:, 1, :3] = -torch.inf
    estimator = SWAPPERS[name]()
    draw = sample(estimator, logits)
    got = gradient(estimator, draw, draw.points.cumsum(-1).square().sum((-1, -2)))
    assert (got[logits == -torch.inf] == 0).all()
    assert (got[:, 1] == 0).all()
    torch.testing.assert_close(got.sum(-1), torch.zeros(50, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("estimator", [dg.ARS(), dg.ARSM(), dg.ARSPlus(0), dg.ARSMPlus()])
def test_one_category_has_no_gradient(estimator):
    draw = sample(estimator, torch.randn(5, 3, 1))
    assert draw.points.shape == (1, 5, 3, 1)
    assert (gradient(estimator, draw, draw.points.sum((-1, -2)) + 7) == 0).all()


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: dg.ARS(-1), "category id of 0 or more"),
        (lambda: dg.ARS(True), "category id of 0 or more"),
        (lambda: dg.Swaps("first"), "category id of 0 or more"),
        (lambda: dg.ARSM(event_dims=-1), "event_dims is a number"),
        (lambda: dg.ARS(3).sample(torch.zeros(2, 3)), r"categories 0..2 only"),
        (lambda: dg.ARSM(2).sample(torch.zeros(2, 3)), "use event_dims=1 or less"),
        (lambda: dg.ARSM(0)(lambda points: points.sum((-1, -2)), torch.zeros(5, 2, 3)), "raise event_dims"),
        (lambda: dg.Composition(dg.Independent(2), dg.DirichletScore()), r"use coupling=Swaps\(\)"),
        (lambda: dg.Composition(dg.Swaps(), dg.DirichletScore(), dg.nn.RunningMean()), "use control_variate=None"),
        (lambda: dg.Composition(dg.Swaps(), dg.Score(), dg.LeaveOneOut()), "use coupling=Independent"),
        (lambda: dg.exact.moments(dg.ARSM(), table_function(1, 3), torch.zeros(1, 3)), "estimate the moments"),
        (lambda: dg.exact.moments(dg.ARS(), table_function(1, 2), torch.zeros(1, 2)), "not random"),
    ],
)
def test_refusals(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_the_score_function_is_right_on_swaps_too():
    """Every point has the variable's law: by enumeration for two categories."""
    f, logits = table_function(2, 2), logits_of("ordinary", 2, 2)
    assert relative_bias(dg.Composition(dg.Swaps(0), dg.Score()), f, logits) < 1e-10
