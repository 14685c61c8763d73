"""Rare categories have their frequency: the set of noise that leads to each is measured, to the last of its points.

Noise is on the multiples of 2^-53. Where a sampler is a piecewise constant function of a number of it, the pieces are
found by bisection, so a frequency is a count, not an estimate.
"""

import math

import pytest
import torch
from catalogue import drawn_where
from scipy import stats

import discretegrad as dg
from discretegrad.ops import copula, gumbel, inverse_cdf, swap, tree
from discretegrad.ops.noise import mirror, uniform

POINTS = 2**53
IMPLEMENTATIONS = ("reference", "fused", "native")
RARE = 1e-12
ROUNDING = 2 / POINTS + 1e-15
"""Of sums near 1 in double, and of the noise."""


def close(found, probs, rounding=0.0):
    """Frequencies are the probabilities, to the noise's resolution and the softmax's rounding."""
    found, probs = torch.as_tensor(found, dtype=torch.float64), probs.double()
    assert probs.min() >= RARE or (found[probs == 0] == 0).all()
    torch.testing.assert_close(found, probs, rtol=1e-4 + rounding, atol=ROUNDING)


def pieces(function):
    """`(value, how many of the 2^53 points)` of a function whose values each have an interval."""

    def between(low, high, left, right):
        if left == right:
            return [(left, high - low)]
        if high - low == 1:
            return [(left, 1)]
        middle = (low + high) // 2
        at = function(middle / POINTS)
        return between(low, middle, left, at) + between(middle, high, at, right)

    last = POINTS - 1
    end = function(last / POINTS)
    merged = {}
    for value, count in [*between(0, last, function(0.0), end), (end, 1)]:
        merged[value] = merged.get(value, 0) + count
    return list(merged.items())


PROBABILITIES = {
    "head": [1e-9, 1.0],
    "tail": [1.0, 1e-9],
    "both": [1e-12, 1.0, 3e-7, 1e-12],
    "middle": [0.5, 1e-12, 0.2, 1e-6, 0.3],
    "forbidden": [0.0, 1e-10, 1.0, 0.0, 1e-8, 0.0],
}


def logits_of(kind, dtype=torch.float32):
    return torch.tensor(PROBABILITIES[kind], dtype=torch.float64).log().to(dtype)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", list(PROBABILITIES))
def test_independent_points(kind, implementation):
    for dtype in (torch.float32, torch.float64):
        logits = logits_of(kind, dtype)
        probs = logits.double().softmax(-1)
        for draw in (
            lambda u, x=logits: inverse_cdf.categorical(x, torch.tensor([u], dtype=torch.float64)),
            lambda u, x=logits: inverse_cdf.inverse_cdf(x.softmax(-1), torch.tensor(u, dtype=torch.float64)),
            lambda u, x=logits: inverse_cdf.categorical(x, mirror(torch.tensor([u], dtype=torch.float64))),
        ):
            with dg.ops.using(implementation):
                found = dict(pieces(lambda u, draw=draw: int(draw(u))))
            close([found.get(c, 0) / POINTS for c in range(len(probs))], probs)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_independent_points_of_long_rows(implementation):
    """Ids here and there among equal logits, and among some of probability 1e-6 beside others."""
    for logits in (torch.zeros(100_003), torch.randn(20_000) * 3):
        categories = len(logits)
        chosen = torch.tensor([0, 1, 31, 32, 33, categories // 2, categories - 33, categories - 2, categories - 1])
        low, high = torch.zeros(2, len(chosen), dtype=torch.int64), torch.full((2, len(chosen)), POINTS)
        ends = torch.stack((chosen, chosen + 1))
        for _ in range(53):  # the first point of the noise that leads to an id, or beyond it
            middle = (low + high) // 2
            with dg.ops.using(implementation):
                ids = inverse_cdf.categorical(logits, (middle.double() / POINTS).flatten()).reshape(ends.shape)
            high, low = torch.where(ids >= ends, middle, high), torch.where(ids >= ends, low, middle + 1)
        low[ends == categories] = POINTS
        close((low[1] - low[0]) / POINTS, logits.double().softmax(-1)[chosen], rounding=2e-6 * math.log2(categories))


TREES = {
    "balanced": ("balanced", None),
    "balanced-descending": ("balanced", "descending"),
    "sticks": ("caterpillar", None),
    "sticks-ascending": ("caterpillar", "ascending"),
    "sticks-descending": ("caterpillar", "descending"),
    "huffman": ("huffman", None),
}


@pytest.mark.parametrize(
    ("name", "implementation", "kind"), drawn_where(list(TREES), IMPLEMENTATIONS, ["head", "both"])
)
def test_both_points_of_antithetic_pairs(name, kind, implementation):
    """The first from its own number, the second from what the first leaves it, by the pieces of all three numbers."""
    logits = logits_of(kind)
    with dg.ops.using(implementation):
        plan = tree.pairs(*TREES[name], logits)

        def drawn(*noise):
            indices, _ = plan.sample(torch.tensor(noise, dtype=torch.float64).reshape(3, 1))
            return indices[0].item(), indices[1].item()

        first, second = torch.zeros(2, len(logits), dtype=torch.float64)
        for one, count in pieces(lambda u: drawn(u, 0.5, 0.5)[0]):
            first[one] += count / POINTS
            inside = start_of(lambda u: drawn(u, 0.5, 0.5)[0], one)
            # Where the second leaves is told by the first id that it can then be.
            for parts, share in pieces(lambda u, at=inside: drawn(at, u, 0.0)[1]):
                leaves = start_of(lambda u, at=inside: drawn(at, u, 0.0)[1], parts)
                for other, part in pieces(lambda u, at=inside, of=leaves: drawn(at, of, u)[1]):
                    second[other] += count / POINTS * share / POINTS * part / POINTS
    probs = logits.double().softmax(-1)
    close(first, probs)
    close(second, probs)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kind", ["head", "tail", "both"])
def test_both_points_of_nearly_distinct_pairs(kind, implementation, monkeypatch):
    logits, coupling = logits_of(kind), dg.NearlyDistinct()
    probs = logits.double().softmax(-1)
    with dg.ops.using(implementation):

        def drawn(*noise):
            given = torch.tensor(noise, dtype=torch.float64).reshape(2, 1)
            monkeypatch.setattr("discretegrad.coupling.distinct.uniform", lambda *_: given)
            return coupling.draw(logits).indices.tolist()

        first, second = torch.zeros(2, len(logits), dtype=torch.float64)
        for one, count in pieces(lambda u: drawn(u, 0.5)[0]):
            first[one] += count / POINTS
            inside = start_of(lambda u: drawn(u, 0.5)[0], one)
            for other, part in pieces(lambda u, at=inside: drawn(at, u)[1]):
                second[other] += count / POINTS * part / POINTS
    close(first, probs)
    close(second, probs)


def start_of(function, value):
    """Some number that leads to the value."""
    todo = [(0, POINTS - 1)]
    for at in (0, POINTS - 1):
        if function(at / POINTS) == value:
            return at / POINTS
    while todo:
        low, high = todo.pop(0)
        middle = (low + high) // 2
        if function(middle / POINTS) == value:
            return middle / POINTS
        todo += [
            (a, b)
            for a, b in ((low, middle), (middle, high))
            if b - a > 1 and function(a / POINTS) != function(b / POINTS)
        ]
    raise AssertionError(value)


@pytest.mark.parametrize("probability", [1e-12, 1e-9, 0.3, 1 - 1e-9])
def test_mirrored_bits(probability, monkeypatch):
    """Both bits, of a uniform and of its mirror image."""
    logit = torch.tensor(probability, dtype=torch.float64).logit().float()
    logits = torch.stack((torch.nn.functional.logsigmoid(-logit), torch.nn.functional.logsigmoid(logit)))
    coupling = dg.MirroredUniforms()

    def drawn(u):
        noise = torch.full((1,), u, dtype=torch.float64)
        monkeypatch.setattr("discretegrad.coupling.mirrored.uniform", lambda *_: noise)
        return coupling.draw(logits).indices.tolist()

    for point in (0, 1):
        found = dict(pieces(lambda u, point=point: drawn(u)[point]))
        expected = torch.stack((-logit, logit)).double().sigmoid()
        close([found.get(bit, 0) / POINTS for bit in (0, 1)], expected)


@pytest.mark.parametrize("probability", [1e-12, 1e-9, 1e-4])
def test_races(probability):
    """Given when one category arrives, the rare one comes before it as often as its rate says."""
    log_probs = torch.tensor([probability, 1 - probability], dtype=torch.float64).log().float()
    rate = math.exp(log_probs[0]) / math.exp(log_probs[1])
    for other in (1e-3, 0.3, 0.9, 1 - 2**-24):
        expected = -math.expm1(math.log1p(-other) * rate)
        for wins in (
            lambda u: (log_probs + gumbel.gumbel(u)).argmax(),
            lambda u: swap.swapped_winners(swap.flat_dirichlet(u), log_probs, torch.tensor([0]), torch.tensor([0])),
        ):
            # Rounded down to the digits of float32, as they come; see `uniform`.
            def winner(u, wins=wins, other=other):
                return int(wins(torch.tensor([u, other], dtype=torch.float64).float()))

            found = dict(pieces(winner)).get(0, 0) / POINTS
            assert found == pytest.approx(expected, rel=2e-4 + 1e-5)


def test_copulas_reach_both_ends():
    """Two points of a copula are `1 - u` and u, u the share of an arrival; so a rare end is a rare arrival."""
    family, edge = copula.Dirichlet(2), 1e-12
    for other in (0.01, 0.5, 0.99):
        for point in (0, 1):

            def inside(u, other=other, point=point):
                noise = [other, other]
                noise[1 - point] = u
                return bool(family.uniforms(torch.tensor(noise, dtype=torch.float64))[point] < edge)

            found = dict(pieces(inside))[True] / POINTS
            arrival = -math.log1p(-other)
            assert found == pytest.approx(-math.expm1(-arrival * edge / (1 - edge)), rel=2.0 / (found * POINTS) + 1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_its_law(dtype):
    """On the multiples of 2^-53, as fine near 0 in float32; its mirror image is as well, and never 1."""
    like = torch.zeros((), dtype=torch.float32)
    wide = uniform((2000,), like, torch.Generator().manual_seed(3))
    noise = uniform((2000,), like, torch.Generator().manual_seed(3), dtype=dtype)
    assert torch.equal(wide * POINTS, (wide * POINTS).round())
    assert (wide * POINTS % 2).mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(mirror(mirror(wide)), wide)
    assert float(mirror(torch.zeros((), dtype=torch.float64))) == 1 - 1 / POINTS
    assert (noise.double() <= wide).all()
    torch.testing.assert_close(noise.double(), wide, rtol=1.2e-7 if dtype == torch.float32 else 0.0, atol=0.0)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_counts_down_to_a_millionth(implementation):
    """Of 40 rare categories at both ends and in the middle, in 2^22 draws: false alarm once in 10^6 runs."""
    probs = torch.full((43,), 1e-6, dtype=torch.float64)
    probs[20:23] = torch.tensor([0.5, 0.3, 0.2]) * (1 - 4e-5)
    count = 2**22
    with dg.ops.using(implementation):
        drawn = dg.Independent(count).draw(probs.log().float(), None, torch.Generator().manual_seed(1))
    counts = drawn.indices.bincount(minlength=43)
    expected = count * probs
    assert stats.chisquare(counts.double(), expected * (count / expected.sum())).pvalue > 1e-6
