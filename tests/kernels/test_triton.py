"""The Triton kernels against the references: on a GPU where there is one, else by Triton's interpreter.

The interpreter pays by the operation and not by the number, so the kinds of logits share a call. Rows that take several
tiles are short ones with a narrow tile.

Every output is filled with NaN or with an id that is none before a kernel writes to it.

The tests of noise that kernels make themselves state their error rates as in `calibration`: false alarm 1e-6 for the
file, power 0.999 against a law that is off by `sum (q - p)^2 / p = 0.02^2`.
"""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from calibration import assert_law, assert_mean
from catalogue import USER_TREES, every, make

import discretegrad as dg
from discretegrad.ops import dispatch
from discretegrad.ops import inverse_cdf as draws
from discretegrad.ops import noise as noise_ops
from discretegrad.ops import score as score_ops
from discretegrad.ops import tree as tree_ops
from discretegrad.ops.tree import reference as tree_reference

triton = pytest.importorskip("triton", reason="the kernels need Triton")
tl = triton.language
kernels = importlib.import_module("discretegrad.ops.kernels")
for operation in ("inverse_cdf", "score", "tree"):
    importlib.import_module(f"discretegrad.ops.{operation}.triton")

ROOT = Path(__file__).parents[2]
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
SIZES = [1, 2, 3, 63, 64, 100, *(pytest.param(size, marks=pytest.mark.slow) for size in (1000, 4096))]
ROWS = [
    *(
        pytest.param(size, None, marks=[pytest.mark.slow] if size > 100 else [])
        for size in (1, 2, 3, 64, 100, 1000, 4096)
    ),
    (50, 16),
    (64, 16),
    pytest.param(9001, None, marks=pytest.mark.slow),
]
"""Categories, and the widest tile: by itself, or so narrow that a row takes several."""
KINDS = ["ordinary", "extreme", "forbidden"]
LARGEST = 1 - 2**-53
"""Noise is below it or equal."""
LAYOUTS = ["rows", "batch", "none", "empty", "transposed", "strided"]
COMPARISONS = 10
"""How many laws and means the tests of noise look at."""


@pytest.fixture(autouse=True)
def _poison(monkeypatch):
    def poisoned(shape, dtype, like):
        return torch.full(shape, torch.nan if dtype.is_floating_point else 2**30, dtype=dtype, device=like.device)

    monkeypatch.setattr(kernels, "empty", poisoned)
    if not ON_GPU:
        monkeypatch.setattr(kernels, "TILE", 2**14)  # fewer and larger operations
        # For each function of ours that a kernel calls, the interpreter would prepare the language anew, for nothing.
        interpreted = importlib.import_module("triton.runtime.interpreter").InterpretedFunction
        prepared = interpreted.__call__

        def call(self, *given, **named):
            own = self.fn.__module__.startswith("discretegrad.")
            return self.rewrite()(*given, **named) if own else prepared(self, *given, **named)

        monkeypatch.setattr(interpreted, "__call__", call)


@pytest.fixture
def widest(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setattr(kernels, "WIDEST", request.param)


@pytest.fixture
def large_tiles(monkeypatch):
    """A GPU has no registers for these."""
    if not ON_GPU:
        monkeypatch.setattr(kernels, "TILE", 2**17)


def logits_of(kind, *shape, dtype=torch.float64, layout="rows"):
    *variables, categories = shape
    logits = torch.randn(*variables, 2 * categories, dtype=torch.float64)
    if layout == "strided":
        logits = logits[..., ::2]
    elif layout == "transposed":
        logits = logits[..., :categories].movedim(-1, 0).contiguous().movedim(0, -1)
    else:
        logits = logits[..., :categories].contiguous()
    if kind == "extreme":
        logits.masked_fill_(torch.rand(shape) < 0.3, 1e4).masked_fill_(torch.rand(shape) < 0.3, -1e4)
        logits[..., 0] = 0.0
    if kind == "forbidden":
        logits.masked_fill_(torch.rand(shape) < 0.4, -torch.inf)
        logits[..., -1] = 0.0
    return logits.to(dtype).to(DEVICE)


def logits_of_every_kind(*shape, dtype=torch.float64):
    return torch.stack([logits_of(kind, *shape, dtype=dtype) for kind in KINDS])


def variables_of(layout):
    return {"rows": (7,), "none": (), "empty": (3, 0)}.get(layout, (3, 5))


def uniform(*shape, dtype=torch.float64):
    return torch.rand(shape, dtype=dtype).to(DEVICE)


def both(function):
    """The reference's result and the kernels'."""
    with dg.ops.using("reference"):
        expected = function()
    with dg.ops.using("triton"):
        return function(), expected


def assert_draws(ids, probs, noise, rounding):
    """Each id is what the noise leads to, but for rounding of the sums; none is impossible."""
    chosen = probs.expand(*ids.shape, -1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    assert (chosen > 0).all()
    edge = probs.cumsum(-1).expand(*ids.shape, -1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    assert (noise.double() < edge + rounding).all()
    assert (noise.double() > edge - chosen - rounding).all()


# Draws


@pytest.mark.parametrize(("categories", "widest"), ROWS, indirect=["widest"])
def test_categorical_and_inverse_cdf_are_the_references(categories, widest):
    logits, noise = logits_of_every_kind(5, categories), uniform(4, 3, 5)
    for function in (
        lambda: draws.categorical(logits, noise),
        lambda: draws.inverse_cdf(3 * logits.softmax(-1), noise),
    ):
        assert torch.equal(*both(function))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("points", [1, 37])
def test_categorical_of_every_layout(layout, points):
    logits = logits_of("ordinary", *variables_of(layout), 5, layout=layout)
    noise = uniform(points, *logits.shape[:-1])
    got, expected = both(lambda: draws.categorical(logits, noise))
    assert got.shape == noise.shape
    assert torch.equal(got, expected)


@pytest.mark.parametrize(("categories", "widest"), ROWS, indirect=["widest"])
def test_categorical_in_single_and_half_precision(categories, widest):
    noise = uniform(4, 3, 15)
    # The least and the largest noise: what could slip past the first or the last possible category.
    noise[0], noise[1] = 0.0, LARGEST
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = logits_of_every_kind(15, categories, dtype=dtype)
        with dg.ops.using("triton"):
            ids = draws.categorical(logits, noise)
            assert torch.equal(ids, draws.categorical(logits.float(), noise))
        assert_draws(ids, logits.double().softmax(-1), noise, 2**-21)


@pytest.mark.parametrize(("categories", "widest"), [(12, None), (50, 16)], indirect=["widest"])
def test_the_noise_that_gives_a_category_measures_its_probability(categories, widest):
    """Where one category ends and the next begins, to the last bit; also of the rarest, at the head and at the tail."""
    logits = torch.zeros(3, categories, dtype=torch.float64, device=DEVICE)
    rare = torch.tensor([1e-12, 1e-9, 1e-6], dtype=torch.float64, device=DEVICE).log()
    logits[0, :3], logits[1, -3:], logits[2, 5:8] = rare, rare, rare
    probs = logits.softmax(-1)
    bound = torch.arange(1, categories, device=DEVICE)
    rows = logits.unsqueeze(1).expand(-1, categories - 1, -1)

    def behind(k):
        with dg.ops.using("triton"):
            return draws.categorical(rows, k.unsqueeze(0).double() * 2**-53)[0] >= bound

    # The least k so that noise k / 2^53 gives a category behind each one, by bisection from where it should be.
    middle = (probs.cumsum(-1)[:, :-1] * 2**53).long()
    low, high = (middle - 256).clamp_min(-1), (middle + 256).clamp_max(2**53)
    assert behind(high.clamp_max(2**53 - 1))[high < 2**53].all()
    assert not behind(low.clamp_min(0))[low >= 0].any()
    while ((high - low) > 1).any():
        middle = (low + high) // 2
        low, high = torch.where(behind(middle), low, middle), torch.where(behind(middle), middle, high)
    edges = torch.cat((torch.zeros_like(high[:, :1]), high, torch.full_like(high[:, :1], 2**53)), -1)
    torch.testing.assert_close(edges.diff(dim=-1).double() * 2**-53, probs, rtol=1e-12, atol=3 * 2**-53)


def test_inverse_cdf_broadcasts():
    probs, noise = torch.rand(7, 1, 6, dtype=torch.float64).to(DEVICE), uniform(2, 7, 3)
    assert torch.equal(*both(lambda: draws.inverse_cdf(probs, noise)))
    assert torch.equal(*both(lambda: draws.inverse_cdf(probs[:, 0], noise[0, :, 0])))


# Sums of one-hots


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("points", [1, 4, 37])
def test_sums_of_one_hots_of_every_layout(layout, points, shared):
    probs = logits_of("ordinary", *variables_of(layout), 5, layout=layout).softmax(-1)
    if layout == "transposed":
        probs = probs.movedim(-1, 0).contiguous().movedim(0, -1)
    indices = torch.randint(5, (2 * points, *probs.shape[:-1]), device=DEVICE)[::2]
    coefficients = torch.randn(indices.shape, dtype=torch.float64, device=DEVICE)
    if shared and indices.ndim > 1:  # values of f, shared by the variables of an event
        coefficients = coefficients[..., :1]
    for function in (
        lambda: score_ops.scatter(indices, coefficients, 5),
        lambda: score_ops.score(probs, indices, coefficients),
    ):
        torch.testing.assert_close(*both(function), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("categories", "widest"), ROWS, indirect=["widest"])
def test_sums_of_one_hots_of_every_size(categories, widest):
    probs = logits_of("forbidden", 15, categories).softmax(-1)
    indices = torch.randint(categories, (4, 15), device=DEVICE)
    for dtype, rounding in ((torch.float64, 1e-14), (torch.float32, 1e-6)):
        p, coefficients = probs.to(dtype), torch.randn(4, 15, dtype=torch.float64).to(DEVICE, dtype)
        for function in (
            lambda c=coefficients: score_ops.scatter(indices, c, categories),
            lambda c=coefficients, p=p: score_ops.score(p, indices, c),
        ):
            got, expected = both(function)
            assert got.dtype == dtype
            torch.testing.assert_close(got, expected, rtol=rounding, atol=rounding)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.bool):
        got, expected = both(lambda dtype=dtype: score_ops.one_hot(indices, categories, dtype))
        assert got.dtype == dtype
        assert torch.equal(got, expected)


@pytest.mark.parametrize(("categories", "widest"), [(5, None), (50, 16)], indirect=["widest"])
def test_the_score_of_logits_is_that_of_their_softmax(categories, widest):
    def of_logits(*arguments):
        with dg.ops.using("triton"):
            return score_ops.of_logits(*arguments)

    logits, mask = logits_of_every_kind(5, categories), torch.rand(3, 5, device=DEVICE) < 0.6
    indices = torch.randint(categories, (4, 3, 5), device=DEVICE)
    coefficients = torch.randn(4, 3, 1, dtype=torch.float64, device=DEVICE)
    expected = score_ops.score(logits.softmax(-1), indices, coefficients)
    torch.testing.assert_close(of_logits(logits, indices, coefficients), expected, rtol=1e-12, atol=1e-13)
    dirty = logits.masked_fill(~mask.unsqueeze(-1), torch.nan)
    got = of_logits(dirty, torch.where(mask, indices, -100), coefficients, mask)
    torch.testing.assert_close(got, torch.where(mask.unsqueeze(-1), expected, 0.0), rtol=1e-12, atol=1e-13)
    # Coefficients that cancel leave one-hots alone, whatever the logits are.
    cancels = torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=torch.float64, device=DEVICE).reshape(4, 1, 1)
    got = of_logits(torch.full_like(logits, torch.nan), indices, cancels)
    assert torch.equal(got, score_ops.scatter(indices, cancels, categories))


def test_score_has_the_wider_of_the_two_dtypes():
    probs, indices = torch.rand(3, 4, device=DEVICE), torch.randint(4, (2, 3), device=DEVICE)
    got, expected = both(lambda: score_ops.score(probs, indices, torch.ones(2, 3, device=DEVICE).double()))
    assert got.dtype == expected.dtype == torch.float64


@pytest.mark.parametrize("shared", [pytest.param(False, marks=pytest.mark.slow), True])
def test_sums_of_one_hots_are_differentiated_by_what_learns(shared):
    probs = logits_of("ordinary", 2, 2, 3).softmax(-1).requires_grad_()
    indices = torch.randint(3, (2, 2, 2), device=DEVICE)
    coefficients = torch.randn(2, 2, 1 if shared else 2, dtype=torch.float64, device=DEVICE, requires_grad=True)
    with dg.ops.using("triton"):
        for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
            assert check(lambda c: score_ops.scatter(indices, c, 3), coefficients)
            assert check(lambda p, c: score_ops.score(p, indices, c), (probs, coefficients))


# Pairs on trees

TREES = [
    ("balanced", None),
    ("balanced", "ascending"),
    ("caterpillar", None),
    ("caterpillar", "descending"),
    ("caterpillar", "ascending"),
    ("user", None),
    ("user", "abs"),
]
SHORT_AND_LONG = [
    *((*tree, 12, None) for tree in TREES),
    *((*tree, 50, 16) for tree in (("balanced", None), ("caterpillar", "ascending"), ("user", "abs"))),
]


def drawn_rows(rows, of, slow):
    """Trees with rows, each `(categories, widest)` or categories: one of so many is quick, and of `slow` none."""
    found = []
    for place, tree in enumerate(TREES):
        for at, row in enumerate([*rows, *slow]):
            sizes = row if isinstance(row, tuple) else (row, None)
            quick = row in rows and (place + at) % of == 0
            found.append(pytest.param(*tree, *sizes, marks=[] if quick else pytest.mark.slow))
    return found


def tree_of(shape, categories):
    if shape != "user":
        return shape
    if categories in USER_TREES:
        return USER_TREES[categories]
    # Lopsided, of depth 2 + log C, and not in the order of the categories.
    half = tree_ops.topology.balanced(1, categories)
    return (half, 0)


def assert_gradients(plan, reference, indices, rounding, dtype=torch.float64):
    points, *variables = indices.shape
    differences = torch.randn(points // 2, *variables[:1], *[1] * (len(variables) - 1), dtype=torch.float64)
    differences, others = differences.to(DEVICE, dtype), torch.randn(indices.shape, dtype=dtype).to(DEVICE)
    for given in (None, others):
        expected = reference.gradient(indices, differences.double(), given if given is None else given.double())
        got = plan.gradient(indices, differences, given)
        assert got.isfinite().all()
        torch.testing.assert_close(got.double(), expected, rtol=rounding, atol=rounding)


@pytest.mark.parametrize(
    ("shape", "order", "categories", "widest"),
    drawn_rows([1, 2, 3, 64, 100, (50, 16), (64, 16)], of=3, slow=[1000, 4096, 9001]),
    indirect=["widest"],
)
def test_pairs_are_the_references(shape, order, categories, widest):
    """Points, gradients and weights; of points of the kernel's own making, and of any."""
    tree = tree_of(shape, categories)
    logits, noise = logits_of_every_kind(5, categories), uniform(3, 2, 3, 5)
    reference = tree_reference.pairs(tree, order, logits)
    with dg.ops.using("triton"):
        plan = tree_ops.pairs(tree, order, logits)
        assert type(plan).__name__ == "TritonPairs"
        indices, _ = plan.sample(noise)
        assert torch.equal(indices, reference.sample(noise)[0])
        # Of the ordinary rows any points; elsewhere rounding decides about pairs that are never drawn.
        indices[:, 0] = draws.categorical(logits[0], uniform(4, 5))
        assert_gradients(plan, reference, indices, 1e-11)
        if shape == "caterpillar":  # of others no kernel makes the ratio
            apart = indices[0::2] != indices[1::2]
            torch.testing.assert_close(plan.ratio(indices)[apart], reference.ratio(indices)[apart], rtol=1e-9, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "order"), TREES)
def test_pairs_of_every_layout(shape, order, layout):
    logits = logits_of("forbidden", *variables_of(layout), 5, layout=layout)
    tree = tree_of(shape, 5)
    noise, reference = uniform(3, 1, *logits.shape[:-1]), tree_reference.pairs(tree, order, logits)
    with dg.ops.using("triton"):
        plan = tree_ops.pairs(tree, order, logits)
        indices, _ = plan.sample(noise)
        assert indices.shape == (2, *logits.shape[:-1])
        assert torch.equal(indices, reference.sample(noise)[0])
        assert_gradients(plan, reference, indices, 1e-12)


@pytest.mark.parametrize(
    ("shape", "order", "categories", "widest"), drawn_rows([3], of=2, slow=[(64, 16), 64, 1000]), indirect=["widest"]
)
def test_pairs_in_single_and_half_precision(shape, order, categories, widest):
    tree = tree_of(shape, categories)
    noise = uniform(3, 3, 3, 15)
    noise[:, 0], noise[:, 1] = 0.0, LARGEST
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        logits = logits_of_every_kind(15, categories, dtype=dtype)
        reference = tree_reference.pairs(tree, order, logits.double())
        with dg.ops.using("triton"):
            plan = tree_ops.pairs(tree, order, logits)
            indices, _ = plan.sample(noise)
            assert (reference.probs.expand(6, -1, -1, -1).gather(-1, indices.unsqueeze(-1)) > 0).all()
            apart = indices[0::2] != indices[1::2]
            if order is None:  # equal logits in half precision may be sorted either way
                assert (reference.ratio(indices)[apart] > 0).all()
                assert_gradients(plan, reference, indices, 2e-5, torch.float32)


ENDS = [0.0, 2**-53, 1e-9, 0.4, 1 - 1e-9, LARGEST]


@pytest.mark.parametrize(("shape", "order", "categories", "widest"), SHORT_AND_LONG, indirect=["widest"])
def test_pairs_at_the_ends_of_the_noise_are_the_references(shape, order, categories, widest):
    """Of float32 logits with rare categories, which only noise of 53 bits and sums in double tell from none."""
    noise = torch.cartesian_prod(*[torch.tensor(ENDS, dtype=torch.float64, device=DEVICE)] * 3).T.reshape(3, 1, -1)
    logits = torch.randn(3, categories, device=DEVICE)
    rare = torch.tensor([1e-11, 1e-8, 1e-6], device=DEVICE).log()
    logits[0, :3], logits[1, -3:], logits[2, 4:7] = rare, rare, rare
    logits = logits.unsqueeze(1).expand(-1, noise.shape[-1], -1).flatten(0, 1)
    noise = noise.repeat(1, 1, 3)
    tree = tree_of(shape, categories)
    with dg.ops.using("triton"):
        indices, _ = tree_ops.pairs(tree, order, logits).sample(noise)
    expected, _ = tree_reference.pairs(tree, order, logits.double()).sample(noise)
    assert torch.equal(indices, expected)
    assert indices.unique().numel() > 3


@pytest.mark.parametrize(("shape", "order", "categories", "widest"), SHORT_AND_LONG, indirect=["widest"])
def test_rows_that_are_off_are_not_read(shape, order, categories, widest):
    tree = tree_of(shape, categories)
    logits, mask = torch.randn(21, categories, device=DEVICE), torch.rand(21, device=DEVICE) < 0.6
    dirty = logits.masked_fill(~mask.unsqueeze(-1), torch.nan)
    noise, indices = uniform(3, 2, 21), torch.randint(categories, (4, 21), device=DEVICE)
    weights = torch.randn(2, 1, device=DEVICE), torch.randn(4, 21, device=DEVICE)
    found = {}
    with dg.ops.using("triton"):
        for name, plan in {
            "all": tree_ops.pairs(tree, order, logits),
            "on": tree_ops.pairs(tree, order, dirty, mask),
        }.items():
            found[name] = [plan.sample(noise)[0], plan.gradient(indices, *weights).movedim(-1, 0)]
            if shape == "caterpillar":
                found[name].append(plan.ratio(indices))
        found["all"].append(draws.categorical(logits, noise[0]))
        found["on"].append(draws.draw(dirty, noise[0], mask)[0])
    for got, expected in zip(found["on"], found["all"], strict=True):
        torch.testing.assert_close(got, torch.where(mask, expected, 0), rtol=1e-5, atol=1e-6)
        assert (got.movedim(-1, 0)[~mask] == 0).all()


@pytest.mark.parametrize("shape", ["balanced", "caterpillar"])
def test_light_subtrees_keep_their_digits_beside_heavy_ones(shape):
    """In float32 the light half's mass is below the rounding of the heavy one's."""
    logits = torch.tensor([0.0, -1.0, -30.0, -31.0], device=DEVICE)
    reference = tree_reference.pairs(shape, None, logits.double())
    indices, one = torch.tensor([2, 3], device=DEVICE), torch.ones(1, device=DEVICE)
    with dg.ops.using("triton"):
        plan = tree_ops.pairs(shape, None, logits)
        got = plan.gradient(indices, one)
        torch.testing.assert_close(got.double(), reference.gradient(indices, one.double()), rtol=1e-6, atol=0)
        noise = torch.tensor([1 - 2**-24, 0.5, 0.99], dtype=torch.float64, device=DEVICE).reshape(3, 1)
        assert torch.equal(plan.sample(noise)[0], reference.sample(noise)[0])
        ratio = plan.ratio(indices)
    torch.testing.assert_close(ratio.double(), reference.ratio(indices), rtol=1e-6, atol=0)


def test_what_has_no_kernel_falls_back():
    logits = torch.randn(2, 70, device=DEVICE)
    deep = 0
    for leaf in range(1, 70):
        deep = (deep, leaf)
    with dg.ops.using("triton"):
        for tree in ("huffman", deep):
            assert isinstance(tree_ops.pairs(tree, None, logits), tree_reference.ReferencePairs)
        with pytest.raises(ValueError, match="leaves"):
            tree_ops.pairs(((0, 1), 2), None, logits)
        plan = tree_ops.pairs("balanced", "ascending", logits)
        reference = tree_reference.pairs("balanced", "ascending", logits)
        for name in ("probs", "leaves"):
            assert torch.equal(getattr(plan, name), getattr(reference, name))
        assert torch.equal(plan.law(), reference.law())


# Whole estimators

ESTIMATORS = {
    "rloo": dg.RLOO(),
    "rloo-4": dg.RLOO(4),
    "reinforce": dg.Reinforce(3),
    "tree": dg.DisARMTree(),
    "tree-2-pairs": dg.DisARMTree(num_pairs=2),
    "tree-user": dg.DisARMTree(tree=USER_TREES[5], order="descending"),
    "sticks": dg.DisARMSB(),
    "sticks-2-pairs": dg.DisARMSB(num_pairs=2, order="descending"),
    "iw": dg.DisARMIW(),
    "iw-2-pairs": dg.DisARMIW(num_pairs=2),
    "flow": dg.Flow(dg.Tree()),
    "disarm": dg.DisARM(num_pairs=2),
    "rloo-bernoulli": dg.RLOO(3, latent="bernoulli"),
}


@pytest.fixture
def given_noise(monkeypatch):
    """The same noise for every implementation, in place of a seed."""

    def noise(shape, like, generator, seeded=False):
        return noise_ops.uniform(shape, like, generator)

    for name in ("independent", "tree"):
        monkeypatch.setattr(f"discretegrad.coupling.{name}.uniform", noise)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_estimators_are_those_of_the_reference(name, masked, given_noise):
    estimator = ESTIMATORS[name]
    shape = (4, 3) if estimator.latent == "bernoulli" else (4, 3, 5)
    logits = torch.randn(shape, dtype=torch.float64, device=DEVICE, requires_grad=True)
    weight = torch.randn(shape[1:], dtype=torch.float64, device=DEVICE)
    mask = torch.rand(4, 3, device=DEVICE) < 0.7 if masked else None

    def step():
        draw = estimator.sample(logits, torch.Generator(DEVICE).manual_seed(1), mask)
        loss = estimator.surrogate(draw, (draw.points * weight).flatten(2).sum(-1).square())
        return draw.indices, draw.points, loss.detach(), torch.autograd.grad(loss.sum(), logits)[0]

    for got, expected in zip(*both(step), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["rloo", "tree-2-pairs", "sticks", "iw"])
def test_estimators_run_on_seeds(name, dtype):
    """The kernel's own noise: the generator decides about the points."""
    estimator = ESTIMATORS[name]
    logits = torch.randn(64, 3, 5, device=DEVICE).to(dtype).requires_grad_()
    ids = []
    with dg.ops.using("triton"):
        for seed in (1, 1, 2):
            draw = estimator.sample(logits, torch.Generator(DEVICE).manual_seed(seed))
            ids.append(draw.indices)
            loss = estimator.surrogate(draw, draw.points[..., 0].float().sum(-1))
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            assert draw.points.dtype == gradient.dtype == dtype
            assert gradient.isfinite().all()
    assert torch.equal(ids[0], ids[1])
    assert not torch.equal(ids[0], ids[2])


@pytest.mark.slow
@pytest.mark.skipif(
    ON_GPU, reason="the networks of the catalogue are on the CPU, where only the interpreter runs kernels"
)
@pytest.mark.parametrize(("name", "latent"), every())
def test_every_estimator_runs_beside_the_kernels(name, latent):
    """Operations with a kernel and those without, values that are learned from, points that carry a gradient."""
    estimator = make(name, latent, 3)
    logits = torch.randn((2, 2) if latent == "bernoulli" else (2, 2, 3), dtype=torch.float64).requires_grad_()
    with dg.ops.using("triton"):
        draw = estimator.sample(logits)
        values = (draw.points - 0.3).flatten(2).sum(-1).square() + draw.points.flatten(2)[..., 0]
        (gradient,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits, retain_graph=True)
        assert gradient.isfinite().all()
        for learner in estimator.learners:
            if hasattr(learner, "loss"):
                assert learner.loss(draw, values).isfinite().all()


@pytest.mark.parametrize("name", ["rloo", "reinforce", "tree-user", "sticks", "iw"])
def test_results_are_where_the_logits_are_whatever_the_default_device(name):
    logits = torch.randn(4, 3, 5, device=DEVICE, requires_grad=True)
    values = torch.randn(ESTIMATORS[name].evaluations, 4, device=DEVICE)

    def step():
        generator = torch.Generator(DEVICE).manual_seed(1)
        draw = ESTIMATORS[name].sample(logits, generator, validate=False)
        loss = ESTIMATORS[name].surrogate(draw, values).sum()
        return draw.points, torch.autograd.grad(loss, logits)[0]

    with dg.ops.using("triton"):
        expected = step()
        with torch.device("meta"):
            got = step()
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other)


def test_leave_one_out_makes_no_probabilities():
    logits = torch.randn(4, 3, 5, device=DEVICE, requires_grad=True)
    estimator = dg.RLOO()
    with dg.ops.using("triton"):
        draw = estimator.sample(logits)
        estimator.surrogate(draw, draw.points[..., 0].sum(-1)).sum().backward()
    assert draw.drawn._probs is None
    assert not draw.probs.requires_grad  # made later, but as if at once
    assert torch.equal(draw.probs, logits.softmax(-1))


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("rloo", "tree", "sticks", "iw", "tree-user")),
        "reinforce",
    ],
)
def test_compiles_without_graph_breaks(name):
    estimator = ESTIMATORS[name]
    weight = torch.randn(3, 5, device=DEVICE)

    def step(x):
        return estimator(lambda points: (points * weight).flatten(2).sum(-1).square(), x).sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    with dg.ops.using("triton"):
        for batch in (4, 4, 2):
            results = []
            logits = torch.randn(batch, 3, 5, device=DEVICE)
            for function in (step, compiled):
                torch.manual_seed(1)
                leaf = logits.clone().requires_grad_()
                loss = function(leaf)
                results.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
            torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_transforms_take_the_reference():
    logits = torch.randn(4, 3, 5, device=DEVICE)
    estimator = dg.DisARMTree()

    def one(_):
        return torch.func.grad(lambda x: estimator(lambda points: points[..., 0].sum(-1), x).sum())(logits)

    with dg.ops.using("triton"):
        replicates = torch.func.vmap(one, randomness="different")(torch.arange(3))
    assert replicates.isfinite().all()
    assert not torch.equal(replicates[0], replicates[1])


# The operators

LOGITS = torch.randn(6, 5, device=DEVICE)
IDS = torch.randint(5, (4, 6), device=DEVICE)
SEED = torch.tensor(3, device=DEVICE)
MASK = torch.rand(6, device=DEVICE) < 0.5
MIDDLE = torch.tensor([2, 1, 3], dtype=torch.int32, device=DEVICE)
RANKING = LOGITS.argsort(-1)
OPERATORS = {
    "draw_categories": [
        (LOGITS, None, SEED, 3, True, True),
        (LOGITS.exp(), MASK, torch.rand(2, 6, device=DEVICE), 2, False, False),
    ],
    "one_hot": [(IDS[:1], 5, torch.float32)],
    "scatter": [(IDS, torch.randn(4, 2, device=DEVICE, requires_grad=True), 3, 5)],
    "score": [(LOGITS.softmax(-1), IDS, torch.randn(4, 2, device=DEVICE), 3)],
    "score_of_logits": [(LOGITS, MASK, IDS, torch.randn(4, 2, device=DEVICE), 3)],
    "draw_pairs": [
        (LOGITS[:, :4], None, MASK, MIDDLE, 2, torch.rand(3, 2, 6, device=DEVICE), 2, False),
        (LOGITS, RANKING, None, None, 3, SEED, 2, True),
        (LOGITS, RANKING, None, None, 0, SEED, 2, True),
    ],
    "gradient_of_pairs": [
        (LOGITS, RANKING, None, None, 0, IDS, torch.randn(2, 6, device=DEVICE), 1, None, 1),
        (LOGITS[:, :4], None, MASK, MIDDLE, 2, IDS % 4, torch.randn(2, 1, device=DEVICE), 6, torch.randn(4, 6), 1),
    ],
    "ratio_of_sticks": [(LOGITS, None, MASK, IDS)],
}


@pytest.mark.parametrize("name", list(OPERATORS))
def test_operators_are_what_torch_expects(name):
    """The schema, the fake implementation, the derivative if there is one, and tracing at variable sizes."""
    for arguments in OPERATORS[name]:
        arguments = [a.to(DEVICE) if isinstance(a, torch.Tensor) else a for a in arguments]
        torch.library.opcheck(getattr(torch.ops.discretegrad, name).default, arguments)


def test_every_operator_is_checked():
    registered = {name for name in dir(torch.ops.discretegrad) if not name.startswith("_") and name != "name"}
    assert set(OPERATORS) == registered


# Noise that is made in the kernel


@triton.jit
def _words(out, seed, row, draw, rows: tl.constexpr):
    at = tl.arange(0, rows)
    words = kernels.random_bits(tl.load(seed), tl.load(row) + at, draw, 0)
    for k in tl.static_range(4):
        tl.store(out + k * rows + at, words[k].to(tl.int64))


@triton.jit
def _uniforms(out, seed, draws, rows: tl.constexpr):
    at = tl.arange(0, rows)
    for draw in range(draws):
        tl.store(out + draw * rows + at, kernels.uniform(tl.load(seed), at.to(tl.int64), draw))
        one, two, three = kernels.three_uniforms(tl.load(seed), at.to(tl.int64), draw)
        tl.store(out + (draws + draw) * rows + at, one)
        tl.store(out + (2 * draws + draw) * rows + at, two)
        tl.store(out + (3 * draws + draw) * rows + at, three)


@triton.jit
def _largest(out):
    ones = tl.full([1], 0xFFFFFFFF, tl.uint32)
    tl.store(out + tl.arange(0, 1), kernels.unit(ones, ones))


def test_the_generator_is_philox():
    """Known answers of Random123 for a counter and a key of zeros; the row is 64 bits of the counter."""
    out = torch.zeros(4, 1, dtype=torch.int64, device=DEVICE)
    zero = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    _words[(1,)](out, zero, zero, 0, rows=1)
    assert (out.flatten() % 2**32).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    far = torch.zeros_like(out)
    _words[(1,)](far, zero, zero + 2**32, 0, rows=1)
    assert not torch.equal(far, out)


def test_uniforms_are_below_one():
    largest = torch.zeros(1, dtype=torch.float64, device=DEVICE)
    _largest[(1,)](largest)
    assert largest.item() == LARGEST


@pytest.mark.slow
def test_uniforms_are_uniform():
    """On a grid of 10 cells each, also as neighbours: rows, draws, and the three of a pair. So are the last bits."""
    rows, count = 2**14, 32
    out = torch.full((4, count, rows), torch.nan, dtype=torch.float64, device=DEVICE)
    seed = torch.tensor([2**62 + 12345], device=DEVICE)
    _uniforms[(1,)](out, seed, count, rows=rows)
    out = out.cpu()
    assert ((out >= 0) & (out < 1)).all()
    cell = (out[1:] * 10).long()
    joint = cell[0] * 100 + cell[1] * 10 + cell[2]
    law = torch.full((1000,), 1e-3, dtype=torch.float64)
    assert_law(joint.flatten(), law, COMPARISONS, effect=0.03)
    cell = (out[0] * 10).long()
    neighbours = cell[0::2, 0::2] * 1000 + cell[0::2, 1::2] * 100 + cell[1::2, 0::2] * 10 + cell[1::2, 1::2]
    assert_law(neighbours.flatten() // 10, law, COMPARISONS, effect=0.06)
    assert_mean(out[0].flatten(), 0.5, 0.02, COMPARISONS)
    last = (out[0] * 2**53).long()
    assert torch.equal(last.double() * 2**-53, out[0])  # on the grid
    assert_law(last.flatten() % 1000, law, COMPARISONS, effect=0.03)


LAWS = {
    "independent": (dg.Independent(2), torch.float32, 3),
    "independent-double": (dg.Independent(2), torch.float64, 3),
    "balanced": (dg.Tree(), torch.float32, 5),
    "user-descending": (dg.Tree(USER_TREES[5], "descending"), torch.float64, 5),
    "sticks": (dg.StickBreaking("ascending"), torch.float32, 5),
    "two-pairs": (dg.Tree("balanced", num_pairs=2), torch.float32, 2),
}


@pytest.mark.parametrize(
    "name",
    ["independent", "balanced", "sticks"]
    + [pytest.param(name, marks=pytest.mark.slow) for name in ("independent-double", "user-descending", "two-pairs")],
)
def test_kernels_draw_from_the_exact_law(name, large_tiles):
    coupling, dtype, categories = LAWS[name]
    count = 400_000
    logits = torch.randn(categories, dtype=dtype, device=DEVICE)
    law = coupling.law(logits.double())
    with dg.ops.using("triton"):
        points = coupling.draw(logits.expand(count, categories)).indices
    place = categories ** torch.arange(points.shape[0], device=DEVICE)
    number = (points * place.unsqueeze(-1)).sum(0)
    probabilities = torch.zeros(categories ** points.shape[0], dtype=torch.float64, device=DEVICE)
    probabilities[(law.outcomes * place).sum(-1)] = law.probabilities
    assert_law(number.cpu(), probabilities.cpu(), COMPARISONS)


@pytest.mark.parametrize("coupling", [dg.Independent(3), dg.Tree(num_pairs=2), dg.StickBreaking(num_pairs=2)])
def test_points_do_not_depend_on_the_tiles(coupling, monkeypatch):
    logits = torch.randn(33, 5, device=DEVICE)
    found = []
    with dg.ops.using("triton"):
        for tile in (2048, 64):
            monkeypatch.setattr(kernels, "TILE", tile)
            found.append(coupling.draw(logits, None, torch.Generator(DEVICE).manual_seed(1)).indices)
    assert torch.equal(*found)


# Where the kernels run


def test_kernels_are_refused_where_they_cannot_run(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with dg.ops.using("triton"), pytest.raises(RuntimeError, match="Triton kernels run on CUDA tensors, not on cpu"):
        dg.RLOO().sample(torch.zeros(2, 3))
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    with pytest.raises(RuntimeError, match="Triton, which is not installed"), dg.ops.using("triton"):
        pass


def test_triton_is_imported_by_kernels_only():
    program = (
        "import sys, torch, discretegrad as dg\n"
        "for estimator in (dg.RLOO(), dg.DisARMTree(), dg.Flow()):\n"
        "    estimator(lambda points: points[..., 0].sum(-1), torch.zeros(2, 3, requires_grad=True)).sum().backward()\n"
        "sys.exit('triton' in sys.modules or 'discretegrad.ops.kernels' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_kernels_compile_for_a_gpu(tmp_path):
    """For compute capability 8.0, whatever is at hand: no kernel only the interpreter accepts."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "tests" / "compile_kernels.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("kernels\n")


@pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device: kernels ran by the interpreter")
@pytest.mark.parametrize("name", ["rloo", "tree-2-pairs", "sticks", "iw"])
def test_a_step_replays_in_a_cuda_graph(name):
    """Other points at every replay, with gradients that are right for them."""
    estimator = ESTIMATORS[name]
    logits = torch.randn(64, 3, 5, device=DEVICE, requires_grad=True)
    weight = torch.randn(3, 5, device=DEVICE)

    def step():
        draw = estimator.sample(logits)
        values = (draw.points * weight).flatten(2).sum(-1).square()
        return draw, values, torch.autograd.grad(estimator.surrogate(draw, values).sum(), logits)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        draw, values, gradient = step()
    seen = []
    for _ in range(2):
        graph.replay()
        seen.append(draw.indices.clone())
        with dg.ops.using("reference"):
            again = dg.draw.given(logits, draw.indices, draw.latent)
            expected = torch.autograd.grad(estimator.surrogate(again, values.detach()).sum(), logits)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert not torch.equal(*seen)
