"""Fast operations on the CPU against their references: the same numbers from the same noise, nothing not written."""

import functools
import itertools

import pytest
import torch
from catalogue import USER_TREES, drawn_where
from rounding import assert_rounding, flips, of_softmax

import discretegrad as dg
from discretegrad.ops import dispatch, flow, gumbel, inverse_cdf, joint, order, perceptron, score, tree
from discretegrad.ops.noise import made, uniform
from discretegrad.ops.score import both_ways, interleave

SIZES = [1, 2, 3, 10, 63, 64, 100, 1000]
KINDS = ["ordinary", "extreme", "forbidden", "tied"]
DTYPES = [torch.float32, torch.float64]
LEADS = [(), (5,), (3, 2), (0, 4)]
TREES = {
    "balanced": ("balanced", None),
    "balanced-ascending": ("balanced", "ascending"),
    "balanced-abs": ("balanced", "abs"),
    "sticks": ("caterpillar", None),
    "sticks-ascending": ("caterpillar", "ascending"),
    "sticks-descending": ("caterpillar", "descending"),
}


def logits_of(kind, *shape, dtype=torch.float64):
    logits = torch.randn(shape, dtype=torch.float64)
    if kind == "extreme":
        logits = torch.where(torch.rand(shape) < 0.3, 1e4 * logits, logits)
    if kind == "forbidden":
        logits = torch.where(torch.rand(shape) < 0.4, -torch.inf, logits)
        logits[..., -1] = 0.0
    if kind == "tied":
        logits = logits.round()
    return logits.to(dtype)


@pytest.fixture
def poisoned(monkeypatch):
    """Memory that is not filled holds what must never be seen."""

    def poison(make):
        @functools.wraps(make)
        def made(*args, **kwargs):
            new = make(*args, **kwargs)
            return new.fill_(torch.nan if new.is_floating_point() else torch.iinfo(new.dtype).min)

        return made

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poison(getattr(torch, name)))


@pytest.fixture(params=["fused", "native"])
def fast(request):
    """The implementation that is compared with the reference."""
    return request.param


def each(function):
    """What the reference says, and what the two fast implementations say."""
    results = []
    for name in ("reference", "fused", "native"):
        with dispatch.using(name):
            results.append(function())
    return results[0], results[1:]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("categories", "kind", "dtype"), drawn_where(SIZES, KINDS, DTYPES, full=2))
def test_inverse_cdf(categories, kind, dtype):
    for lead in LEADS:
        probs = logits_of(kind, *lead, categories, dtype=dtype).softmax(-1) * 3
        for draws in (lead, (7, *lead), (2, 3, *lead)):
            noise = torch.rand(draws, dtype=dtype)
            reference, fast = each(lambda p=probs, u=noise: inverse_cdf.inverse_cdf(p, u))
            for found in fast:
                assert torch.equal(reference, found)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("categories", "kind", "dtype"), drawn_where(SIZES, KINDS, DTYPES, full=2))
def test_independent_points(categories, kind, dtype):
    for lead in LEADS:
        logits = logits_of(kind, *lead, categories, dtype=dtype)
        noise = torch.rand(3, *lead, dtype=dtype)
        reference, fast = each(lambda x=logits, u=noise: inverse_cdf.categorical(x, u))
        for found in fast:
            assert (reference != found).sum() <= flips(noise.numel(), of_softmax(logits), torch.finfo(dtype).eps)
            assert (logits.softmax(-1).expand(3, *logits.shape).gather(-1, found.unsqueeze(-1)) > 0).all()


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("categories", SIZES)
def test_one_hots_and_their_sums(categories):
    for lead in LEADS:
        indices = torch.randint(categories, (3, *lead))
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.bool):
            reference, fast = each(lambda i=indices, d=dtype: score.one_hot(i, categories, d))
            for found in fast:
                assert reference.dtype == found.dtype == dtype
                assert torch.equal(reference, found)
        coefficients = torch.randn(3, *(1 for _ in lead), dtype=torch.float64)
        reference, fast = each(lambda i=indices, c=coefficients: score.scatter(i, c, categories))
        for found in fast:
            torch.testing.assert_close(reference, found, rtol=1e-14, atol=1e-15)
        probs = torch.rand(*lead, categories, dtype=torch.float64)
        reference, fast = each(lambda i=indices, c=coefficients, p=probs: score.score(p, i, c))
        for found in fast:
            torch.testing.assert_close(reference, found, rtol=1e-14, atol=1e-15)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("categories", "kind", "dtype"), drawn_where(SIZES, KINDS, DTYPES, full=2))
def test_averaged_soft_points(categories, kind, dtype):
    """From noise, and from the seed that it is made of, in a kernel; at the temperatures that it has arithmetic for."""
    for lead, points, temperature in itertools.product(LEADS, (1, 3), (1.0, 0.5, 0.3)):
        logits = logits_of(kind, *lead, categories, dtype=dtype)
        logits = logits - logits.amax(-1, keepdim=True)
        indices = inverse_cdf.categorical(logits, torch.rand(points, *lead, dtype=torch.float64))
        shape = 4, points, *lead, categories
        seed, slopes = uniform(shape, logits, seeded=True, dtype=dtype), torch.randn(shape[1:], dtype=dtype)
        noise = made(seed, dtype)
        reference = gumbel.reference.averaged_pull_back(logits, indices, noise, slopes, temperature)
        size = slopes.abs().amax(-1, keepdim=True).sum(0) * 2 / temperature
        # The softmax and its sum, and the logarithms of times, of at most 54 log 2 and the spread of the logits each.
        roundings = 4 * categories + (of_softmax(logits) + 54) / temperature
        for given in (noise, seed):
            with dispatch.using("native"):
                got = gumbel.averaged_pull_back(logits, indices, given, slopes, temperature)
            assert_rounding(got, reference, size, roundings)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("categories", "kind", "dtype"), drawn_where(SIZES[:-1], KINDS, DTYPES, full=2))
def test_joint_values_without_replacement(categories, kind, dtype):
    """The same ones from the same noise, also where fewer are possible than are wanted; of a seed too."""
    for lead, variables, k in itertools.product(LEADS, (1, 4), (1, 3, 6)):
        log_probs = logits_of(kind, *lead, variables, categories, dtype=dtype).log_softmax(-1)
        seed = uniform((variables, *lead, k, categories), log_probs, seeded=True, dtype=dtype)
        noise = made(seed, dtype)
        reference = joint.beam.without_replacement(log_probs, k, noise)
        with dispatch.using("native"):
            found = [joint.without_replacement(log_probs, k, given) for given in (noise, seed)]
        assert torch.equal(*found)
        # Arrivals are off by a few roundings of their logarithms and of the log-probabilities, a variable each.
        finite = log_probs[log_probs > -torch.inf]
        largest = float(finite.abs().max()) if len(finite) else 0.0
        roundings = variables * (12 * (54 + largest) + 10)
        compared = reference.numel() * k * categories
        assert (reference != found[0]).any(-1).sum() <= flips(compared, roundings, torch.finfo(dtype).eps)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("categories", "kind", "dtype"), drawn_where(SIZES, KINDS, DTYPES, full=2))
def test_masses_of_joint_values_and_of_all_others(categories, kind, dtype):
    """Repeated words among them, and those that hold all of the mass, or none."""
    for lead, variables, k in itertools.product(LEADS, (1, 4), (1, 3, 6)):
        log_probs = logits_of(kind, *lead, variables, categories, dtype=dtype).log_softmax(-1)
        random = torch.randint(categories, (*lead, k, variables))
        for words in (random, joint.best(log_probs, k), random[..., :1, :].expand_as(random)):
            expected = joint.rest.log_masses(log_probs.double(), words)
            with dispatch.using("native"):
                found = joint.log_masses(log_probs, words)
            for got, exact in zip(found, expected, strict=True):
                size = torch.where(exact.isfinite(), exact.abs(), 0.0) + 1
                assert torch.equal(got == -torch.inf, exact == -torch.inf)
                got, exact = (torch.where(exact.isfinite(), one, 0.0) for one in (got, exact))
                assert_rounding(got, exact, size, 4 * (variables + categories) + 10)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("slope", [0.3, 0.0, 1.5])
def test_a_network_with_one_hidden_layer(slope, dtype):
    """Its outputs, and the gradient w.r.t. all weights, at any number of rows."""
    for rows, hidden in itertools.product((0, 1, 63, 64, 65, 9000), (1, 7, 100)):
        shapes = (hidden, 3), (hidden,), (2, hidden), (2,)
        weights = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
        inputs, slopes = torch.randn(2, rows, 3, dtype=dtype), torch.randn(2, rows, 2, dtype=dtype)
        results = []
        for name in ("reference", "native"):
            with dispatch.using(name):
                out = perceptron.perceptron(inputs, *weights, slope)
                results.append((out.detach(), *torch.autograd.grad(out, weights, slopes)))
        # Sizes: the sums with every term positive.
        sizes = [weight.detach().abs().requires_grad_() for weight in weights]
        size = perceptron.reference.perceptron(inputs.abs(), *sizes, slope)
        largest = (size.detach(), *torch.autograd.grad(size, sizes, slopes.abs()))
        for reference, got, bound in zip(*results, largest, strict=True):
            assert_rounding(got, reference, bound * max(1.0, slope), 2 * rows + hidden + 10)


def test_noise_of_a_seed_is_the_same_wherever_it_is_made():
    """A kernel that makes its own at any place makes that of the whole; float32 rounds it down."""
    for count in (1, 31, 32, 33, 1000):
        like = torch.empty(0)
        whole, rounded = (uniform((count,), like, torch.Generator().manual_seed(3), dtype=d) for d in DTYPES[::-1])
        assert (rounded <= whole).all() and (rounded.double() >= whole * (1 - 2**-23)).all()
        seed = uniform((count,), like, torch.Generator().manual_seed(3), seeded=True)
        assert torch.equal(made(seed, torch.float64), whole)


@pytest.mark.parametrize(("categories", "kind", "dtype"), drawn_where(SIZES, KINDS, DTYPES, full=2))
def test_order(categories, kind, dtype):
    keys = logits_of(kind, 11, 3, categories, dtype=dtype)
    keys = torch.cat((keys, keys.round(), torch.zeros_like(keys), -torch.zeros_like(keys)))
    reference, fast = each(lambda: order.ascending(keys))
    for found in fast:
        assert torch.equal(reference, found)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(
    ("name", "categories", "kind", "dtype"), drawn_where(list(TREES), SIZES, KINDS, DTYPES, full=2)
)
def test_pairs(name, categories, kind, dtype):
    check_pairs(*TREES[name], categories, kind, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", list(TREES))
def test_a_light_child_keeps_its_digits_beside_a_heavy_one(name, dtype):
    """A difference from their sum would have none left; drawn points hardly ever part there."""
    logits = logits_of("ordinary", 40, 10, dtype=dtype)
    logits[:, :5] -= 15
    indices, values = torch.stack((torch.arange(40) % 5, 5 + torch.arange(40) // 8)), torch.ones(1, 1, dtype=dtype)
    reference, fast = each(lambda: tree.pairs(*TREES[name], logits))
    expected, size = reference.gradient(indices, values), terms(reference, indices, values)
    for plan in fast:
        assert_rounding(plan.gradient(indices, values), expected, size, 4 * (of_softmax(logits) + 10) + 2)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(
    ("categories", "kind", "order_of", "dtype"),
    drawn_where([1, 2, 3, 5, 8], KINDS, [None, "descending"], DTYPES, full=2),
)
def test_pairs_on_user_trees(categories, order_of, kind, dtype):
    check_pairs(USER_TREES[categories], order_of, categories, kind, dtype)


def check_pairs(shape, order_of, categories, kind, dtype, leads=((1, ()), (1, (40, 3)), (3, (5,)), (2, (0, 4)))):
    for num_pairs, lead in leads:
        logits = logits_of(kind, *lead, categories, dtype=dtype)
        noise = torch.rand(3, num_pairs, *lead, dtype=dtype)
        values = torch.randn(num_pairs, *(1 for _ in lead), dtype=dtype)
        others = both_ways(torch.randn(num_pairs, *(1 for _ in lead), dtype=dtype))
        reference, fast = each(lambda x=logits: tree.pairs(shape, order_of, x))
        drawn = [(plan, *plan.sample(noise)) for plan in fast]
        expected, (one, other) = reference.sample(noise)[0], (indices for _, indices, _ in drawn)
        of_probability = of_softmax(logits)
        for plan, indices, _ in drawn:
            few = flips(indices.numel(), 3 * (of_probability + categories), torch.finfo(dtype).eps)
            assert (expected != indices).sum() <= few
            assert (logits.softmax(-1).expand(*indices.shape, -1).gather(-1, indices.unsqueeze(-1)) > 0).all()
            for name in ("probs", "leaves"):
                sums = getattr(reference, name)
                assert_rounding(getattr(plan, name), sums, sums, of_probability)
        # The reference is asked once for both, where nothing was flipped.
        for same in [drawn] if torch.equal(one, other) else [drawn[:1], drawn[1:]]:
            given = [(plan, kept) for plan, _, found in same for kept in (None, found)]
            check_weights(reference, given, same[0][1], logits, values, others, shape == "caterpillar")


def check_weights(reference, fast, indices, logits, values, others, sticks):
    """What plans, with what they have kept of the draw, weigh the points by is the reference's, up to rounding."""
    eps, pairs, categories = torch.finfo(logits.dtype).eps, len(values), logits.shape[-1]
    of_mass = of_softmax(logits) + categories
    size = terms(reference, indices, values)
    for extra in (None, others):
        expected = reference.gradient(indices, values, extra)
        if extra is not None:
            size = size + score.reference.scatter(indices, extra.abs(), categories)
        for plan, kept in fast:
            # Added up over pairs: difference * lighter / (own + other) * p / own.
            assert_rounding(plan.gradient(indices, values, extra, kept), expected, size, 4 * of_mass + 2 * pairs)
    if not sticks:
        return
    apart, expected = indices[0::2] != indices[1::2], reference.ratio(indices)
    # 2 own other / law, and that is a product of (heavier - lighter) / (own + other) at the sticks before.
    size = 3 * of_mass * (1 + conditions(reference, indices)) * expected
    for plan, kept in fast:
        assert_rounding(plan.ratio(indices, kept)[apart], expected[apart], size[apart], 1)
    for differences, extra in ((values, None), (values, others), (values.double(), others)):
        expected = reference.importance(indices, differences, extra)
        ends = (2 * pairs + size) * differences.abs() * apart
        ends = interleave(ends, ends) + (0 if extra is None else 2 * pairs * extra.abs())
        size_of_sum = score.reference.scatter(indices, ends, categories)
        for plan, kept in fast:
            got = plan.importance(indices, differences, extra, kept)
            assert got.dtype == differences.dtype
            assert_rounding(got, expected, size_of_sum, 1, eps)


def terms(plan, indices, differences):
    """The absolute values of what a gradient is the sum of: both ends of each pair, and p on either side of it."""
    ends = interleave(differences.abs(), differences.abs())
    size = score.reference.scatter(indices, 2 * ends, plan.probs.shape[-1])
    for pair, difference in enumerate(differences):
        size += plan.gradient(indices[2 * pair : 2 * pair + 2], difference.unsqueeze(0)).abs()
    return size


def conditions(plan, indices):
    """On sticks: the sum of `(own + rest) / (rest - own)` over the sticks before that where a pair parts.

    So many times their relative rounding a product of the differences is off, for its factors.
    """
    own = plan.leaves.double()
    rest = own.flip(-1).cumsum(-1).flip(-1) - own
    each = torch.where(rest > own, (own + rest) / (rest - own), 0.0)
    before = each.cumsum(-1) - each
    place = plan.position_of.expand(*indices.shape, -1).gather(-1, indices.unsqueeze(-1)).squeeze(-1)
    stick = torch.minimum(place[0::2], place[1::2])
    return before.expand(*stick.shape, -1).gather(-1, stick.unsqueeze(-1)).squeeze(-1)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(
    ("categories", "kind", "dtype"),
    drawn_where([1, 2, 3, 32, 65, 5000], [*KINDS, "flat", "star", "half"], DTYPES, full=2),
)
def test_nearly_distinct_pairs(categories, kind, dtype):
    """Against the reference in float64, which is solved to its last digit; both kernels solve by themselves."""
    for num_pairs, lead in ((1, ()), (1, (8, 3)), (3, (5,)), (2, (0, 4))):
        logits = logits_of(kind, *lead, categories, dtype=dtype)
        if kind == "flat":
            logits.zero_()
        if categories > 1 and kind in ("star", "half"):  # one category has about as much as all others, or more
            logits[..., 0] = logits[..., 1:].double().logsumexp(-1).to(dtype) + (0.5 if kind == "star" else -1e-6)
        noise = torch.rand(2, num_pairs, *lead, dtype=torch.float64)
        law = flow.reference.distinct(logits.double().softmax(-1), iterations=12)
        expected = flow.reference.sample_distinct(law, noise)
        with dispatch.using("native"):
            indices, kept, sound = flow.sample_distinct(logits, noise)
        assert sound
        assert (indices != expected).sum() <= 1  # noise on an edge that rounding moves: in one of 1e5 pairs at most
        assert (law.probs.expand(*indices.shape, -1).gather(-1, indices.unsqueeze(-1)) > 0).all()
        half = torch.randn(num_pairs, *(1 for _ in lead), dtype=dtype)
        coefficients, others = both_ways(half), torch.randn(2 * num_pairs, *(1 for _ in lead), dtype=dtype)
        for extra in (None, others):
            want = flow.separable(law.probs, law.rho, indices, coefficients.double())
            want = want if extra is None else want + score.scatter(indices, extra.double(), categories)
            for found in (kept, None):
                with dispatch.using("native"):
                    got = flow.flow_of_distinct(logits, indices, coefficients, extra, found)
                # Rounding of a handful of terms of the size of the coefficients, and of t.
                rounding = 20 * torch.finfo(dtype).eps * num_pairs
                torch.testing.assert_close(got.double(), want, rtol=0, atol=rounding)
        # Where a mask is off nothing is read, and the rest is as without it.
        mask = torch.rand(lead) < 0.7
        padded = torch.where(mask.unsqueeze(-1), logits, torch.nan)
        with dispatch.using("native"):
            there, found, sound = flow.sample_distinct(padded, noise, mask)
            assert sound
            assert torch.equal(there, torch.where(mask, indices, 0))
            nowhere = torch.where(mask, indices, -100)
            for given, used in ((there, found), (nowhere, None)):
                again = flow.flow_of_distinct(padded, given, coefficients, others, used, mask)
                want = torch.where(mask.unsqueeze(-1), got, 0.0)
                torch.testing.assert_close(again, want, rtol=0, atol=rounding)


def test_nearly_distinct_pairs_at_the_edges_of_noise():
    """Nothing impossible is drawn, and other rows do not learn of one without probabilities."""
    for categories in (2, 3, 40, 5000):
        for dtype in (torch.float32, torch.float64):
            logits = logits_of("forbidden", 40, categories, dtype=dtype)
            for edge in itertools.product((0.0, 0.5, 1 - 2**-53), repeat=2):
                noise = torch.tensor(edge, dtype=torch.float64).reshape(2, 1, 1).expand(2, 1, 40)
                indices, _, _ = flow.sample_distinct(logits, noise)
                chosen = logits.softmax(-1).expand(2, -1, -1).gather(-1, indices.unsqueeze(-1))
                assert (chosen > 0).all()
            noise = torch.rand(2, 1, 40, dtype=torch.float64)
            clean, kept, sound = flow.sample_distinct(logits, noise)
            for worse in (-torch.inf, torch.inf, torch.nan):
                bad = logits.clone()
                bad[7] = worse
                found, other, fine = flow.sample_distinct(bad, noise)
                others = torch.arange(40) != 7
                assert sound and not fine
                assert torch.equal(clean[:, others], found[:, others])
                assert torch.equal(kept[:, others], other[:, others])
                assert ((found >= 0) & (found < categories)).all()


def test_rows_without_probability_do_not_reach_beyond_themselves(fast):
    """Nobody looks at logits under `validate=False`: other variables are what they would be, and ids are categories."""
    for name, (shape, order_of) in TREES.items():
        if fast == "fused" and shape == "balanced":  # refers such logits to the reference as a whole
            continue
        logits, noise = torch.randn(64, 9, dtype=torch.float64), torch.rand(3, 2, 64, dtype=torch.float64)
        worse = logits.clone()
        worse[::5], worse[1::5, 3], worse[2::5, 2] = -torch.inf, torch.nan, torch.inf
        bad = torch.arange(64) % 5 < 3
        good = ~bad
        with dispatch.using(fast):
            clean, _ = tree.pairs(shape, order_of, logits).sample(noise)
            found, _ = tree.pairs(shape, order_of, worse).sample(noise)
        assert torch.equal(clean[:, good], found[:, good]), name
        assert ((found[:, bad] >= 0) & (found[:, bad] < 9)).all(), name


@pytest.mark.parametrize("edge", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(TREES))
def test_noise_at_its_edges_draws_nothing_impossible(name, kind, edge, fast):
    for categories in (2, 3, 10, 16):
        for dtype in (torch.float32, torch.float64):
            logits = logits_of(kind, 300, categories, dtype=dtype)
            largest = 1 - torch.finfo(dtype).eps / 2
            for row in range(4):
                noise = torch.rand(3, 1, 300, dtype=dtype)
                noise[row if row < 3 else slice(None)] = edge * largest
                with dispatch.using(fast):
                    indices, _ = tree.pairs(*TREES[name], logits).sample(noise)
                chosen = logits.softmax(-1).expand(2, -1, -1).gather(-1, indices.unsqueeze(-1))
                assert (chosen > 0).all()


def test_the_rule(monkeypatch):
    """What runs where, without the devices."""
    assert dispatch.implementation(torch.zeros(2)) == "native"
    assert dispatch.implementation(torch.nn.Parameter(torch.zeros(2))) == "native"
    assert dispatch.implementation(torch.zeros(2, 250_000)) == "native"
    assert dispatch.implementation(torch.zeros(2, dtype=torch.bfloat16)) == "fused"
    assert dispatch.implementation(torch.zeros(2, dtype=torch.int64), torch.float64) == "native"
    assert dispatch.implementation(torch.zeros(2, device="meta")) == "reference"
    seen = []
    torch.vmap(lambda x: (seen.append(dispatch.implementation(x)), x)[1])(torch.zeros(2, 3))
    assert seen == ["reference"]
    for name in ("reference", "fused", "native"):
        with dispatch.using(name):
            assert dispatch.implementation(torch.zeros(2)) == name
    with dispatch.using("native"):
        assert dispatch.implementation(torch.zeros(2, device="meta")) == "reference"
    with (
        pytest.raises(
            ValueError, match="an implementation is one of 'reference', 'fused', 'native', 'triton', not 'fast'"
        ),
        dispatch.using("fast"),
    ):
        pass


@pytest.mark.parametrize("name", ["rloo", "tree", "sb", "iw", "flow"])
def test_a_training_run_is_the_same_step_by_step(name, fast):
    """Twenty steps of Adam on a small model, in float64, by the reference and fast."""
    estimator = {
        "rloo": dg.RLOO(2),
        "tree": dg.DisARMTree(2),
        "sb": dg.DisARMSB(),
        "iw": dg.DisARMIW(),
        "flow": dg.Flow(dg.NearlyDistinct(2)),
    }[name]
    paths = []
    for implementation in ("reference", fast):
        torch.manual_seed(0)
        encoder, decoder = torch.nn.Linear(7, 12).double(), torch.nn.Linear(12, 1).double()
        inputs, parameters = torch.randn(6, 7).double(), [*encoder.parameters(), *decoder.parameters()]
        optimizer, path = torch.optim.Adam(parameters, 1e-2), []
        generator = torch.Generator().manual_seed(1)
        with dispatch.using(implementation):
            for _ in range(20):
                logits = encoder(inputs).unflatten(-1, (3, 4))
                draw = estimator.sample(logits, generator)
                values = (decoder(draw.points.flatten(2)).squeeze(-1) - inputs[:, 0]).square()
                optimizer.zero_grad()
                estimator.surrogate(draw, values).mean().backward()
                optimizer.step()
                path.append(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        paths.append(torch.stack(path))
    torch.testing.assert_close(paths[0], paths[1], rtol=1e-10, atol=1e-12)
