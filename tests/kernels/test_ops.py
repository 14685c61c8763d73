"""Operations against brute force: odd sizes, extreme probabilities, every tree."""

import pytest
import torch
from catalogue import USER_TREES
from rounding import assert_rounding, of_softmax

import discretegrad as dg
from discretegrad.ops.inverse_cdf import inverse_cdf
from discretegrad.ops.score import scatter, score
from discretegrad.ops.tree import reference
from discretegrad.ops.tree.reference import interval_sums
from discretegrad.ops.tree.topology import huffman

SIZES = [1, 2, 3, 63, 100, 1000]
COUPLINGS = {
    "balanced": dg.Tree("balanced"),
    "balanced-ascending": dg.Tree("balanced", "ascending"),
    "caterpillar": dg.StickBreaking(),
    "caterpillar-descending": dg.StickBreaking("descending"),
    "huffman": dg.Tree("huffman"),
}


def probabilities(kind, *shape):
    logits = torch.randn(shape, dtype=torch.float64)
    if kind == "extreme":
        logits = torch.where(torch.rand(shape) < 0.3, 1e4 * logits, logits)
        logits[..., 0] = 0.0
    if kind == "forbidden":
        logits = torch.where(torch.rand(shape) < 0.4, -torch.inf, logits)
        logits[..., -1] = 0.0
    return logits


@pytest.mark.parametrize("categories", SIZES)
def test_inverse_cdf_inverts_the_cdf(categories):
    """Noise in the middle of each category's interval gives the category."""
    probs = torch.rand(7, categories, dtype=torch.float64) + 0.01
    edges = probs.cumsum(-1)
    middle = (edges - probs / 2) / edges[:, -1:]
    got = inverse_cdf(probs.unsqueeze(-2), middle)
    assert torch.equal(got, torch.arange(categories).expand(7, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("categories", SIZES)
def test_inverse_cdf_never_draws_the_impossible(categories, dtype):
    probs = probabilities("forbidden", 200, categories).to(dtype).softmax(-1)
    largest = 1 - torch.finfo(dtype).eps / 2
    for noise in (0.0, largest, 0.5):
        index = inverse_cdf(probs, torch.full((200,), noise, dtype=dtype))
        assert (probs.gather(-1, index.unsqueeze(-1)) > 0).all()


@pytest.mark.parametrize("categories", SIZES)
def test_score_against_one_hots(categories):
    probs = torch.rand(5, 2, categories, dtype=torch.float64).softmax(-1)
    indices = torch.randint(categories, (3, 5, 2))
    coefficients = torch.randn(3, 5, 1, dtype=torch.float64)
    one_hots = torch.nn.functional.one_hot(indices, categories).double()
    expected = (coefficients.unsqueeze(-1) * one_hots).sum(0)
    torch.testing.assert_close(scatter(indices, coefficients, categories), expected, rtol=1e-14, atol=1e-14)
    expected = (coefficients.unsqueeze(-1) * (one_hots - probs)).sum(0)
    torch.testing.assert_close(score(probs, indices, coefficients), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("categories", SIZES)
def test_interval_sums_keep_the_digits_of_light_intervals(categories):
    values = torch.rand(4, categories, dtype=torch.float64) * 10.0 ** -torch.randint(0, 200, (4, categories))
    start = torch.randint(categories, (50,))
    end = start + (torch.rand(50) * (categories - start + 1)).long()
    got = interval_sums(values.T, start, end)
    for n in range(50):
        expected = values[:, start[n] : end[n]].sum(-1)
        torch.testing.assert_close(got[n], expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", ["ordinary", "extreme", "forbidden"])
@pytest.mark.parametrize("categories", SIZES)
@pytest.mark.parametrize("name", list(COUPLINGS))
def test_plan_is_a_tree_and_a_law(name, categories, kind):
    """Positions are a permutation, every inner node splits an interval in two, the law sums to one."""
    if name == "huffman" and categories > 100:
        pytest.skip("quadratic in the categories")
    logits = probabilities(kind, 3, categories)
    plan = reference.pairs(COUPLINGS[name].shape, COUPLINGS[name].order, logits)
    order = torch.arange(categories).expand(3, -1)
    assert torch.equal(plan.category_at.sort(-1).values, order)
    assert torch.equal(plan.category_at.gather(-1, plan.position_of), order)
    torch.testing.assert_close(plan.node_law.sum(-1), torch.ones(3, dtype=torch.float64), rtol=1e-12, atol=0)
    assert (plan.node_law >= 0).all()
    torch.testing.assert_close(
        (plan.left + plan.right).amax(-1), torch.ones(3).double() * (categories > 1), rtol=1e-12, atol=0
    )
    if categories > 1:
        low, middle, high = plan.topology[:3]
        assert ((low < middle) & (middle < high)).all()
        intervals = torch.stack((low, high), -1).reshape(-1, categories - 1, 2)
        for tables in intervals:
            nodes = {tuple(pair) for pair in tables.tolist()}
            assert len(nodes) == categories - 1
            assert (0, categories) in nodes


@pytest.mark.parametrize("kind", ["ordinary", "extreme", "forbidden"])
@pytest.mark.parametrize("name", [*COUPLINGS, "user"])
@pytest.mark.parametrize("categories", [1, 2, 3, 5, 8])
def test_pair_law_agrees_with_a_walk_down_the_tree(name, categories, kind):
    """The closed form against a recursion that follows the definition: antithetic uniforms at every node."""
    coupling = dg.Tree(USER_TREES[categories]) if name == "user" else COUPLINGS[name]
    logits = probabilities(kind, 4, categories)
    plan = reference.pairs(coupling.shape, coupling.order, logits)
    got = plan.law()
    torch.testing.assert_close(got.sum(-1), logits.softmax(-1), rtol=1e-12, atol=1e-300)
    for b in range(4):
        expected = walked_law(plan, b, categories)
        torch.testing.assert_close(got[b], expected, rtol=1e-10, atol=1e-300)


def walked_law(plan, b, categories):
    """r(i, j) by recursion over the intervals of the plan's tree."""
    low, middle, high = (t.expand(4, -1)[b].tolist() if t.ndim > 1 else t.tolist() for t in plan.topology[:3])
    split = {(lo, hi): mid for lo, mid, hi in zip(low, middle, high, strict=True)}
    p = plan.leaves[b].tolist()
    at = plan.category_at[b].tolist()
    law = torch.zeros(categories, categories, dtype=torch.float64)

    def walk(lo, hi, reach):
        if hi - lo == 1:
            law[at[lo], at[lo]] += reach
            return
        mid = split[lo, hi]
        left, right = sum(p[lo:mid]), sum(p[mid:hi])
        if left + right == 0 or reach == 0:
            return
        a = left / (left + right)
        for i in range(lo, mid):
            for j in range(mid, hi):
                if left > 0 and right > 0:
                    apart = reach * min(a, right / (left + right)) * (p[i] / left) * (p[j] / right)
                    law[at[i], at[j]] += apart
                    law[at[j], at[i]] += apart
        walk(lo, mid, reach * max(0.0, (left - right) / (left + right)))
        walk(mid, hi, reach * max(0.0, (right - left) / (left + right)))

    walk(0, categories, 1.0)
    return law


def test_huffman_is_optimal():
    """Expected depth equals that of the textbook algorithm with a heap."""
    import heapq

    probs = torch.rand(20, 9, dtype=torch.float64).softmax(-1)
    tables, category_at = huffman(probs)
    for b in range(20):
        heap = probs[b].tolist()
        heapq.heapify(heap)
        cost = 0.0
        while len(heap) > 1:
            merged = heapq.heappop(heap) + heapq.heappop(heap)
            cost += merged
            heapq.heappush(heap, merged)
        plan = reference.from_tables(tables, probs, category_at)
        torch.testing.assert_close(float((plan.left + plan.right)[b].sum()), cost, rtol=1e-12, atol=0)


def test_rao_blackwell_is_the_conditional_mean():
    """Given a pair, the closed form is the mean over the tree's noise of the ARM-style estimator it came from."""
    # One node (DisARM): E[(f(b) - f(b')) (u - 1/2) | b, b'] by quadrature over the noise that leads to the pair.
    logit = torch.tensor(0.7, dtype=torch.float64)
    p = logit.sigmoid()
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    b, other = (1 - u < p).long(), (u < p).long()
    f = torch.tensor([0.3, 2.0], dtype=torch.float64)
    for pair in ((0, 1), (1, 0)):
        given = (b == pair[0]) & (other == pair[1])
        arm = ((f[b] - f[other]) * (u - 0.5))[given].mean()
        indices = torch.tensor(pair).reshape(2, 1)
        leaf = logit.reshape(1).clone().requires_grad_()
        loss = dg.functional.disarm(leaf, indices, f[indices])
        (got,) = torch.autograd.grad(loss.sum(), leaf)
        torch.testing.assert_close(got[0], arm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", list(COUPLINGS))
def test_large_trees_float32_agrees_with_float64(name):
    """C = 63, extreme logits: the float32 gradient of given pairs is the float64 one to float32's accuracy."""
    logits = probabilities("extreme", 50, 63)
    coupling = COUPLINGS[name]
    estimator = dg.Composition(coupling, dg.RaoBlackwell())
    draw = estimator.sample(logits.float())
    values = torch.randn(2, 50)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = logits.float().to(dtype).requires_grad_()
        loss = estimator.surrogate(dg.draw.given(leaf, draw.indices, draw.latent), values.to(dtype))
        gradients.append(torch.autograd.grad(loss.sum(), leaf)[0].double())
    # As in `test_fused.py`: difference * lighter / (own + other) * p / own, and the differences at the ends.
    size = gradients[1].abs() + scatter(draw.indices, 2 * values.abs(), 63)
    roundings = 4 * (of_softmax(logits.float()) + 63) + 2
    assert_rounding(*gradients, size, roundings, eps=torch.finfo(torch.float32).eps)
