"""All samplers against their exact laws: all S points of a variable, or of an event, at once.

A joint law that is off by a total variation of 1 % is noticed with probability 0.999, and so many draws are made; a
correct library fails the file once in a million runs.
"""

import itertools

import pytest
import torch
from calibration import assert_drawn_from, assert_law, cells_of, draws_for_law
from catalogue import USER_TREES, drawn_where

import discretegrad as dg
from discretegrad.coupling import Law
from discretegrad.ops.copula.families import Dirichlet
from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.tree import pairs

PAIRS = {
    "independent": lambda c: dg.Independent(2),
    "distinct": lambda c: dg.NearlyDistinct(),
    "copula": lambda c: dg.Copula(2),
    "gaussian-3": lambda c: dg.Copula(3, "gaussian"),
    "balanced": lambda c: dg.Tree(),
    "balanced-descending": lambda c: dg.Tree(order="descending"),
    "balanced-abs": lambda c: dg.Tree(order="abs"),
    "huffman": lambda c: dg.Tree("huffman"),
    "user": lambda c: dg.Tree(USER_TREES.get(c, "balanced")),
    "sticks": lambda c: dg.StickBreaking(),
    "sticks-ascending": lambda c: dg.StickBreaking("ascending"),
}
MORE = {
    "independent-4": lambda c: dg.Independent(4),
    "distinct-2": lambda c: dg.NearlyDistinct(2),
    "copula-3": lambda c: dg.Copula(3),
    "copula-4": lambda c: dg.Copula(4),
    "balanced-2": lambda c: dg.Tree(num_pairs=2),
    "huffman-2": lambda c: dg.Tree("huffman", num_pairs=2),
    "sticks-descending-2": lambda c: dg.StickBreaking("descending", 2),
}
BITS = {
    "mirrored": lambda c: dg.MirroredUniforms(),
    "mirrored-2": lambda c: dg.MirroredUniforms(2),
    "antithetic-2": lambda c: dg.Antithetic(2),
    "swaps": lambda c: dg.Swaps(),
    "swaps-0": lambda c: dg.Swaps(0),
}
EVENTS = {
    "alternatives": lambda c: dg.Alternatives(),
    "alternatives-1": lambda c: dg.Alternatives(1),
    "top-2-and-2": lambda c: dg.TopAndRest(2, 2),
    "set-2": lambda c: dg.WithoutReplacement(2),
    "set-3": lambda c: dg.WithoutReplacement(3),
}
MAKE = PAIRS | MORE | BITS | EVENTS
KINDS = ("ordinary", "skewed", "forbidden")
IMPLEMENTATIONS = ("reference", "fused", "native")
CASES = [(name, c) for name in PAIRS for c in (2, 3, 5, 16) if name != "user" or c in USER_TREES]
CASES += [(name, c) for name in MORE for c in (2, 3, 5)] + [(name, 2) for name in BITS]
CASES += [(name, c) for name in EVENTS for c in (2, 3, 5)]
FAST = [case for case in CASES if case[1] == 3 or case[0] in BITS or case == ("copula", 16)]
LONG = [case for case in CASES if case not in FAST]
COMPARISONS = 2 * len(CASES) * len(KINDS) * len(IMPLEMENTATIONS) + 100
"""Twice, for a Gaussian copula is looked at in two pairs; 100 for the single points and the controls."""


def logits_of(kind, *shape):
    """Of the one distribution, or two for an event of two variables."""
    categories = shape[-1]
    logits = torch.randn(shape, dtype=torch.float64)
    if kind == "skewed":
        logits = torch.linspace(0.0, -5.0, categories, dtype=torch.float64).expand(shape).clone()
        if len(shape) > 1:
            logits[1] = logits[1].flip(0)
    if kind == "forbidden":
        logits[..., categories // 2] = -torch.inf
    return logits


def laws(coupling, logits):
    """Which points are looked at together, and their law; all of them where it has a closed form."""
    if isinstance(coupling, dg.Copula) and coupling.family == "gaussian" and coupling.num_samples > 2:
        categories = torch.arange(logits.shape[-1])
        pair = Law(torch.cartesian_prod(categories, categories), coupling.draw(logits).pair_law().flatten())
        return [((0, 1), pair), ((coupling.num_samples - 1, 0), pair)]
    return [(slice(None), coupling.law(logits))]


def check(coupling, logits, sample=None):
    """Draw as often as the test's power asks for, in float32, and compare."""
    sample = sample or (lambda logits, generator: coupling.draw(logits, None, generator).indices)
    categories = logits.shape[-1]
    sets = isinstance(coupling, dg.WithoutReplacement)
    for points, law in laws(coupling, logits):
        cells = max(2, len(cells_of(law, categories, sets)[0]))
        count = draws_for_law(cells, COMPARISONS)
        many = logits.float().expand(count, *logits.shape).contiguous()
        drawn = sample(many, torch.Generator().manual_seed(7)).transpose(0, 1)[:, points]
        assert_drawn_from(drawn, law, categories, COMPARISONS, sets)


@pytest.mark.parametrize(
    ("case", "kind", "implementation"),
    [
        *drawn_where(FAST, KINDS, IMPLEMENTATIONS),  # which give the same points from the same noise
        *(pytest.param(*one, marks=pytest.mark.slow) for one in itertools.product(LONG, KINDS, IMPLEMENTATIONS)),
    ],
)
def test_all_points_have_the_exact_joint_law(case, kind, implementation):
    name, categories = case
    coupling = MAKE[name](categories)
    logits = logits_of(kind, 2, categories) if name in EVENTS else logits_of(kind, categories)
    with dg.ops.using(implementation):
        check(coupling, logits)


@pytest.mark.parametrize("reference", ["all", "random", 1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_point_of_a_race_has_its_variable_s_law(kind, reference):
    """Of three categories, where the law of all points together is not enumerated."""
    logits = logits_of(kind, 3)
    count = draws_for_law(3, COMPARISONS)
    coupling = dg.Swaps(reference, event_dims=0)
    for point in coupling.draw(logits.float().expand(count, 3)).indices:
        assert_law(point, logits.softmax(-1), COMPARISONS)


# Known-wrong samplers


def with_a_reused_uniform(logits, generator):
    """Where the second point leaves the first one's path decides also where it goes then."""
    noise = torch.rand(3, 1, *logits.shape[:-1], generator=generator)
    return pairs("balanced", None, logits).sample(torch.stack((noise[0], noise[1], noise[1])))[0]


def with_the_ends_swapped(logits, generator):
    """The more frequent end of the order comes first: the order of a copula, mirrored."""
    uniforms = Dirichlet(3).uniforms(torch.rand(3, *logits.shape[:-1], generator=generator))
    return inverse_cdf(logits.softmax(-1), 1 - uniforms)


def with_its_own_normalisation(logits, generator):
    """The second point from what the first one left, by p and not by b."""
    noise, probs = torch.rand(2, *logits.shape[:-1], generator=generator), logits.softmax(-1)
    first = inverse_cdf(probs, noise[0])
    return torch.stack((first, inverse_cdf(probs.scatter(-1, first.unsqueeze(-1), 0.0), noise[1])))


def independent(logits, generator):
    """Each point alone is right."""
    return inverse_cdf(logits.softmax(-1), torch.rand(2, *logits.shape[:-1], generator=generator))


def off_by_two_percent(logits, generator):
    """Of the mass of the most frequent category, given to another."""
    probs = logits.softmax(-1)
    top = probs.argmax(-1, keepdim=True)
    moved = 0.02 * probs.gather(-1, top)
    probs = probs.scatter_add(-1, top, -moved).scatter_add(-1, (top + 1) % probs.shape[-1], moved)
    return inverse_cdf(probs, torch.rand(2, *probs.shape[:-1], generator=generator))


def with_replacement(logits, generator):
    """Two independent joint values, which may be equal."""
    return independent(logits, generator)


@pytest.mark.parametrize(
    ("coupling", "sample", "message"),
    [
        (dg.Tree(), with_a_reused_uniform, "chi-square|among|probability zero"),
        (dg.Tree(), independent, "chi-square|among|probability zero"),
        (dg.NearlyDistinct(), with_its_own_normalisation, "chi-square"),
        (dg.Independent(2), off_by_two_percent, "chi-square"),
        (dg.WithoutReplacement(2), with_replacement, "among"),
    ],
    ids=["reused uniform", "independent", "normalised", "off by 2 %", "with replacement"],
)
def test_known_wrong_samplers_are_noticed(coupling, sample, message):
    logits = torch.tensor([0.9, 0.0, -0.4, 0.2], dtype=torch.float64)
    if isinstance(coupling, dg.WithoutReplacement):
        logits = torch.stack((logits, logits.flip(0)))
    check(coupling, logits)
    with pytest.raises(AssertionError, match=message):
        check(coupling, logits, sample)


def test_a_copula_with_its_ends_swapped_is_noticed():
    """Of two categories there is one order, and three points of its copula are not symmetric."""
    logits = torch.tensor([-1.0, 0.5], dtype=torch.float64)
    check(dg.Copula(3), logits)
    with pytest.raises(AssertionError, match=r"chi-square|probability zero"):
        check(dg.Copula(3), logits, with_the_ends_swapped)
