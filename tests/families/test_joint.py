"""Joint values of an event: local expectations, sums and samples, sets without replacement."""

import dataclasses
import itertools
import math

import pytest
import torch
from calibration import assert_law, cells_of, numbered
from catalogue import KINDS, drawn_where, logits_of, table_function
from torch.nn.functional import one_hot

import discretegrad as dg
from discretegrad.control_variate import Residual
from discretegrad.coupling import SetPoints, TopPoints
from discretegrad.coupling.joint import as_rows
from discretegrad.ops import joint as joint_ops
from discretegrad.ops import local as local_ops

COUPLINGS = {
    "alternatives": dg.Alternatives(),
    "alternatives-1": dg.Alternatives(1),
    "alternatives-2": dg.Alternatives(2),
    "top-1": dg.TopAndRest(1),
    "top-4-and-2": dg.TopAndRest(4, 2),
    "set-1": dg.WithoutReplacement(1),
    "set-2": dg.WithoutReplacement(2),
    "set-4": dg.WithoutReplacement(4),
}
COMPARISONS = 2 * len(COUPLINGS) * len(KINDS)


def judge(estimator, logits, indices, values):
    """Value and gradient."""
    leaf = logits.detach().clone().requires_grad_()
    loss = estimator.surrogate(dg.draw.given(leaf, indices, dg.latent.LATENTS[estimator.latent]), values)
    return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]


def score(logits, ids):
    """`e_z - p`, `[V, C]`."""
    return one_hot(ids, logits.shape[-1]).to(logits.dtype) - logits.softmax(-1)


@pytest.mark.parametrize(
    ("estimator", "variables", "categories"),
    [
        (dg.SumAndSample(9), 2, 3),
        (dg.SumAndSample(12, 2), 2, 3),
        (dg.UnorderedSet(9), 2, 3),
        (dg.UnorderedSet(9, baseline=False), 2, 3),
        (dg.UnorderedSet(12), 2, 3),
        (dg.LocalExpectation(), 1, 5),
        (dg.LocalExpectation(1), 1, 5),
    ],
)
@pytest.mark.parametrize("kind", ["ordinary", "forbidden"])
def test_all_joint_values_are_exact(estimator, variables, categories, kind):
    """k >= C ** V, or alternatives of the only variable: every draw is the exact gradient, and the exact value."""
    f, logits = table_function(variables, categories), logits_of(kind, variables, categories)
    leaf = logits.expand(20, variables, categories).clone().requires_grad_()
    draw = estimator.sample(leaf)
    loss = estimator.surrogate(draw, torch.stack([f(points) for points in draw.points]))
    (gradient,) = torch.autograd.grad(loss.sum(), leaf)
    torch.testing.assert_close(loss, dg.exact.expectation(f, logits).expand(20), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, dg.exact.gradient(f, logits).expand_as(leaf), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize(
    "estimator",
    [
        dg.LocalExpectation(),
        dg.LocalExpectation(2),
        dg.SumAndSample(2, 2),
        dg.UnorderedSet(3),
        dg.UnorderedSet(1, False),
    ],
)
def test_value_and_gradient_of_f_s_own_parameters_are_unbiased(estimator, latent):
    """The weighted average over all outcomes is E f, and so is its derivative in a parameter of f."""
    estimator = dg.Composition(estimator.coupling, estimator.weights, estimator.control_variate, latent)
    categories = 2 if latent == "bernoulli" else 3
    logits = torch.randn((3,) if latent == "bernoulli" else (3, 3), dtype=torch.float64)
    table = torch.randn((categories,) * 3, dtype=torch.float64, requires_grad=True)
    kind = dg.latent.LATENTS[latent]
    law = estimator.coupling.law(kind.category_logits(logits))
    torch.testing.assert_close(law.probabilities.sum(), torch.ones((), dtype=torch.float64))
    indices = law.outcomes.transpose(0, 1)
    draw = dg.draw.given(logits.expand(indices.shape[1], *logits.shape), indices, kind)
    mean = law.probabilities @ estimator.surrogate(draw, table[indices.unbind(-1)])

    p = kind.category_logits(logits).softmax(-1)
    expected = torch.einsum("ijk,i,j,k", table, *p)
    torch.testing.assert_close(mean, expected, rtol=1e-12, atol=1e-14)
    got, expected = (torch.autograd.grad(x, table)[0] for x in (mean, expected))
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-14)


def test_local_expectations_are_their_published_formula():
    """sum_c f(z_-v, c) d p_vc / d logits_v, one variable and category after the other."""
    f, logits = table_function(3, 4), logits_of("ordinary", 3, 4)
    estimator = dg.LocalExpectation()
    leaf = logits.unsqueeze(0)
    draw = estimator.sample(leaf)
    values = torch.stack([f(points) for points in draw.points])
    value, got = judge(estimator, leaf, draw.indices, values)
    base, expected, means = draw.indices[0, 0], torch.zeros_like(logits), []
    for v in range(3):
        row = logits[v].clone().requires_grad_()
        p, mean = row.softmax(-1), 0.0
        for c in range(4):
            ids = base.clone()
            ids[v] = c
            mean = mean + p[c] * f(one_hot(ids, 4).double().unsqueeze(0)).squeeze(0)
        (expected[v],) = torch.autograd.grad(mean, row)
        means.append(mean.detach())
    torch.testing.assert_close(got[0], expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(value[0], sum(means) / 3, rtol=1e-12, atol=1e-14)
    assert estimator.evaluations is None
    assert draw.evaluations == 1 + 3 * 3


@pytest.mark.parametrize(
    "estimator", [dg.LocalExpectation(), dg.LocalExpectation(2), dg.UnorderedSet(3), dg.SumAndSample(3)]
)
def test_an_event_may_have_more_dimensions(estimator):
    """[2, 3] variables are 6; and values that repeat f for every row or variable are the same as one f for all."""
    logits = torch.randn(4, 6, 3, dtype=torch.float64)
    indices = estimator.sample(logits).indices
    values = torch.randn(indices.shape[0], 4, dtype=torch.float64)
    _, expected = judge(estimator, logits, indices, values)
    _, local = judge(estimator, logits, indices, values.unsqueeze(-1).expand(indices.shape))
    torch.testing.assert_close(local, expected, rtol=1e-12, atol=1e-14)
    wide = make_wide(estimator)
    as_two = (logits.unflatten(1, (2, 3)), indices.unflatten(-1, (2, 3)))
    for of_values in (values, values.unsqueeze(-1).expand(-1, 4, 2), values[..., None, None].expand(-1, 4, 2, 3)):
        _, got = judge(wide, *as_two, of_values)
        torch.testing.assert_close(got.flatten(1, 2), expected, rtol=1e-12, atol=1e-14)


def make_wide(estimator):
    """The same with one more event dimension."""
    coupling = dataclasses.replace(estimator.coupling, event_dims=2)
    return dg.Composition(coupling, estimator.weights, estimator.control_variate)


def test_some_local_expectations_stand_for_all():
    """With n of V variables the gradient of the chosen is V / n times theirs among all; certain ones do not count."""
    f, logits = table_function(4, 3), logits_of("ordinary", 4, 3)
    logits[2] = torch.tensor([0.0, -torch.inf, -torch.inf])
    for _ in range(10):
        draw = dg.LocalExpectation(2).sample(logits.unsqueeze(0))
        values = torch.stack([f(points) for points in draw.points])
        _, some = judge(dg.LocalExpectation(2), logits.unsqueeze(0), draw.indices, values)
        chosen = [v for v in range(4) if (draw.indices[:, 0, v] != draw.indices[0, 0, v]).any()]
        assert len(chosen) == 2
        assert 2 not in chosen
        words = [draw.indices[0, 0]]
        for v, c in itertools.product(range(4), range(1, 3)):
            words.append(words[0].clone())
            words[-1][v] = (words[-1][v] + c) % 3
        everything = torch.stack(words).unsqueeze(1)
        values = f(one_hot(everything[:, 0], 3).double()).unsqueeze(1)
        _, full = judge(dg.LocalExpectation(), logits.unsqueeze(0), everything, values)
        torch.testing.assert_close(some[0, chosen], 1.5 * full[0, chosen], rtol=1e-11, atol=1e-13)
        assert (some[0, [v for v in range(4) if v not in chosen]] == 0).all()


def test_sum_and_sample_is_its_published_formula():
    logits = logits_of("ordinary", 2, 3)
    estimator = dg.SumAndSample(4, 2)
    indices = estimator.sample(logits.unsqueeze(0)).indices
    values = torch.randn(6, 1, dtype=torch.float64)
    value, got = judge(estimator, logits.unsqueeze(0), indices, values)
    words = list(itertools.product(range(3), repeat=2))
    p = logits.softmax(-1)
    joint = {word: float(p[0, word[0]] * p[1, word[1]]) for word in words}
    top = sorted(words, key=joint.get, reverse=True)[:4]
    assert [tuple(word) for word in indices[:4, 0].tolist()] == top
    left = 1 - sum(joint[word] for word in top)
    weights = [joint[word] for word in top] + [left / 2] * 2
    expected = sum(w * f * score(logits, z) for w, f, z in zip(weights, values[:, 0], indices[:, 0], strict=True))
    torch.testing.assert_close(got[0], expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(float(value), sum(w * float(f) for w, f in zip(weights, values[:, 0], strict=True)))
    assert not any(tuple(word) in top for word in indices[4:, 0].tolist())


def of_orders(p, others):
    """P(the first draws without replacement are this set), over all orders; p are the set's, `others` what is left."""
    total = sum(p) + others
    result = 0.0
    for order in itertools.permutations(p):
        chance, left = 1.0, total
        for x in order:
            chance, left = chance * x / left, left - x
        result += chance
    return result


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_unordered_sets_are_their_published_formula(k):
    """R(S, s) and R(S, s, s') by sums over the orders in which the set could have come."""
    logits = logits_of("ordinary", 2, 3)
    indices = dg.UnorderedSet(k, baseline=False).sample(logits.unsqueeze(0)).indices
    values = torch.randn(k, 1, dtype=torch.float64)
    p = logits.softmax(-1)
    joint = [float(p[0, a] * p[1, b]) for a, b in indices[:, 0].tolist()]
    left = 1 - sum(joint)

    def without(*gone):
        rest = [x for i, x in enumerate(joint) if i not in gone]
        return of_orders(rest, left)  # the domain loses what is gone, so the others keep their race

    ratio = [without(s) / without() for s in range(k)]
    for baseline in (False, True)[: 2 if k > 1 else 1]:
        expected = torch.zeros_like(logits)
        for s in range(k):
            advantage = float(values[s])
            if baseline:
                for other in range(k):
                    second = 1.0 if other == s else without(s, other) / without(s)
                    advantage -= joint[other] * second * float(values[other])
            expected += joint[s] * ratio[s] * advantage * score(logits, indices[s, 0])
        value, got = judge(dg.UnorderedSet(k, baseline), logits.unsqueeze(0), indices, values)
        torch.testing.assert_close(got[0], expected, rtol=1e-10, atol=1e-13)
        mean = sum(w * r * float(f) for w, r, f in zip(joint, ratio, values, strict=True))
        torch.testing.assert_close(float(value), mean, rtol=1e-12, atol=1e-14)


def test_a_set_of_one_is_reinforce():
    logits = logits_of("ordinary", 3, 4).expand(10, 3, 4)
    indices = dg.Reinforce().sample(logits).indices
    values = torch.randn(1, 10, dtype=torch.float64)
    got, expected = (judge(e, logits, indices, values) for e in (dg.UnorderedSet(1, baseline=False), dg.Reinforce()))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_the_built_in_baseline_cuts_the_variance_and_ignores_a_shift():
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    shifted = lambda points: f(points) + 5.0  # noqa: E731
    plain = dg.exact.moments(dg.UnorderedSet(3, baseline=False), shifted, logits).total_variance
    own = dg.exact.moments(dg.UnorderedSet(3), shifted, logits).total_variance
    assert own < 0.3 * plain
    without_shift = dg.exact.moments(dg.UnorderedSet(3), f, logits).total_variance
    torch.testing.assert_close(own, without_shift, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("name", "dtype", "kind"), drawn_where(list(COUPLINGS), [torch.float32, torch.float64], KINDS))
def test_samplers_draw_from_the_law_that_is_enumerated(name, dtype, kind):
    coupling, logits = COUPLINGS[name], logits_of(kind, 2, 3)
    law = coupling.law(logits)
    drawn = coupling.draw(logits.to(dtype).expand(400_000, 2, 3)).indices.transpose(0, 1)
    sets = isinstance(coupling, dg.WithoutReplacement)
    numbers, probabilities = cells_of(law, 3, sets)
    place = torch.searchsorted(numbers, numbered(drawn, 3, sets)).clamp_max(len(numbers) - 1)
    assert torch.equal(numbers[place], numbered(drawn, 3, sets)), "a draw is not among the law's outcomes"
    if kind == "saturated" and dtype == torch.float32:
        # Below 1e-7 float32 noise draws as it likes.
        rare = probabilities[place] < 1e-6
        assert rare.double().mean() < 1e-4
        place, probabilities = place[~rare], torch.where(probabilities < 1e-6, 1e-300, probabilities)
    assert_law(place, probabilities, COMPARISONS)


@pytest.mark.parametrize("k", [1, 3, 8, 20])
def test_the_best_are_the_best(k):
    log_probs = torch.randn(5, 3, 4, dtype=torch.float64).log_softmax(-1)
    log_probs[0, 1, 2] = -torch.inf
    words = torch.tensor(list(itertools.product(range(4), repeat=3)))
    got = joint_ops.best(log_probs, k)
    for b in range(5):
        every = log_probs[b][torch.arange(3), words].sum(-1)
        assert torch.equal(got[b], words[every.argsort(descending=True)[:k]])


def test_the_mass_of_the_rest_keeps_its_digits():
    """1 - p(top) is 1e-13 here, and float32 knows it to six digits; one less a sum would not know the first."""
    logits = torch.tensor([[30.0, 0.0, 1.0], [-2.0, 31.0, 0.5]])
    log_probs = logits.log_softmax(-1)
    for k in (1, 2, 5):
        top = joint_ops.best(log_probs, k)
        double = logits.double().softmax(-1)
        every = torch.outer(*double).flatten().sort(descending=True).values
        torch.testing.assert_close(
            joint_ops.log_rest(log_probs, top).exp().double(), every[k:].sum(), rtol=1e-5, atol=0
        )


def test_probabilities_that_underflow_do_no_harm():
    """300 variables of 10 categories: a joint value has probability 1e-300, in float32 zero. The weights are 1 / k."""
    logits = torch.zeros(2, 300, 10, requires_grad=True)
    for k in (2, 4):
        estimator = dg.UnorderedSet(k)
        draw = estimator.sample(logits)
        weights = draw.drawn.value_weights()
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / k), rtol=1e-6, atol=0)
        values = torch.randn(k, 2)
        (got,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)
        # The chance that a value comes twice is nothing, so that it is leave-one-out on independent points.
        expected = judge(dg.RLOO(k), logits.detach(), draw.indices, values)[1]
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def test_the_largest_set_has_weights_that_sum_to_one():
    logits = torch.randn(3, 2, 8, dtype=torch.float64) * 3
    weights = dg.WithoutReplacement(12).draw(logits).value_weights()
    torch.testing.assert_close(weights.sum(0), torch.ones(3, dtype=torch.float64), rtol=1e-11, atol=0)


@pytest.mark.parametrize("estimator", [dg.SumAndSample(5, 2), dg.UnorderedSet(5), dg.UnorderedSet(5, False)])
def test_impossible_values_are_never_drawn(estimator):
    """Fewer than k values are possible: some are drawn twice, none is impossible, and the result is exact."""
    logits = torch.tensor([[0.3, -torch.inf, 1.0], [-torch.inf, 0.0, -0.4]], dtype=torch.float64)
    draw = estimator.sample(logits.unsqueeze(0))
    assert (logits.expand(draw.evaluations, 2, 3).gather(-1, draw.indices[:, 0].unsqueeze(-1)) > -torch.inf).all()
    f = table_function(2, 3)
    values = torch.stack([f(points) for points in draw.points])
    _, got = judge(estimator, logits.unsqueeze(0), draw.indices, values)
    torch.testing.assert_close(got[0], dg.exact.gradient(f, logits), rtol=1e-11, atol=1e-14)


# Known-wrong ones.


def weighed(coupling, kind, weigh):
    """A coupling whose points are weighed in another way."""

    class Points(kind):
        def weigh(self):
            return weigh(self, super().weigh())

    class Weighed(type(coupling)):
        def at(self, logits, mask, indices):
            return Points(indices, logits, mask, self, self._log_probs(logits, mask))

    return Weighed(*vars(coupling).values())


def plain_average(drawn, weights):
    """Points without replacement averaged as if they were independent."""
    return torch.full_like(weights, 1 / len(weights))


def normalised(drawn, weights):
    """Weights p(s) / p(S), as if the set had been given beforehand."""
    chosen = drawn.probs.expand(*drawn.indices.shape, -1).gather(-1, drawn.indices.unsqueeze(-1)).squeeze(-1).prod(-1)
    return chosen / chosen.sum(0)


def included(drawn, weights):
    """Weights that count every member as a sample of its own: k times too much."""
    return len(weights) * weights


def forgotten_top(drawn, weights):
    """The rest drawn with weight one, not 1 - p(top)."""
    rest = drawn.coupling.num_samples
    return torch.cat((weights[:-rest], torch.full_like(weights[-rest:], 1 / rest)))


class OthersMean(dg.UnorderedBaseline):
    """The mean of the other values as a baseline, as for independent points."""

    centred = False

    def subtract_from(self, evaluation):
        values = evaluation.values
        return Residual(values - (values.sum(0) - values) / (values.shape[0] - 1))


class Unscaled(dg.LocalExpectations):
    """Chosen variables that stand for themselves only."""

    def gradient(self, drawn, values, centred=False):
        event_dims = drawn.coupling.event_dims
        ids = as_rows(drawn.indices, event_dims)
        gradient = local_ops.expectation_gradients(drawn.joined[0], ids, as_rows(values, event_dims))
        return gradient.reshape(drawn.probs.shape)


WRONG = {
    "plain average": lambda: dg.Composition(weighed(dg.WithoutReplacement(3), SetPoints, plain_average), dg.Score()),
    "normalised": lambda: dg.Composition(weighed(dg.WithoutReplacement(3), SetPoints, normalised), dg.Score()),
    "included": lambda: dg.Composition(weighed(dg.WithoutReplacement(3), SetPoints, included), dg.Score()),
    "mean of the others": lambda: dg.Composition(dg.WithoutReplacement(3), dg.Score(), OthersMean()),
    "forgotten top": lambda: dg.Composition(weighed(dg.TopAndRest(2), TopPoints, forgotten_top), dg.Score()),
    "unscaled": lambda: dg.Composition(dg.Alternatives(1), Unscaled()),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_known_wrong_joint_estimators_fail(name):
    estimator, f, logits = WRONG[name](), table_function(2, 3), logits_of("ordinary", 2, 3)
    expected = dg.exact.gradient(f, logits)
    assert (dg.exact.moments(estimator, f, logits).mean - expected).norm() > 0.05 * expected.norm()


def test_sets_of_every_variable_by_itself_fail_for_a_joint_f():
    """Found in published code for Bernoulli latents: both values of each bit are drawn, bit by bit, and f shared."""
    estimator = dg.UnorderedSet(2, event_dims=0, latent="bernoulli")
    f, logits = table_function(2, 2), torch.tensor([0.8, -0.4], dtype=torch.float64)
    first = torch.cartesian_prod(torch.arange(2), torch.arange(2))  # which value of each bit came first
    probability = torch.where(first == 1, logits.sigmoid(), (-logits).sigmoid()).prod(-1)
    indices = torch.stack((first, 1 - first))
    values = torch.stack([f(points.double()) for points in indices])
    with pytest.raises(ValueError, match="raise event_dims"):
        judge(estimator, logits.expand(4, 2), indices, values)
    _, forced = judge(estimator, logits.expand(4, 2), indices, values.unsqueeze(-1).expand(2, 4, 2))
    expected = dg.exact.gradient(f, logits, "bernoulli")
    assert (probability @ forced - expected).norm() > 0.1 * expected.norm()
    right = dg.exact.moments(dg.UnorderedSet(2, latent="bernoulli"), f, logits).mean
    torch.testing.assert_close(right, expected, rtol=1e-10, atol=1e-13)


def test_the_law_of_a_batch_is_refused():
    for estimator in (dg.UnorderedSet(event_dims=0), dg.SumAndSample(event_dims=0), dg.LocalExpectation(event_dims=0)):
        with pytest.raises(ValueError, match="that of one event"):
            dg.exact.moments(estimator, table_function(2, 3), torch.zeros(2, 3))


def test_sets_too_many_to_enumerate_are_refused():
    assert math.comb(4**5, 4) > 2**20
    with pytest.raises(ValueError, match="sets of 4 of 1024 joint values"):
        dg.exact.moments(dg.UnorderedSet(4), table_function(5, 4), torch.zeros(5, 4))
