"""Equations between estimators that hold to rounding, draw by draw."""

import pytest
import torch
from catalogue import logits_of, table_function

import discretegrad as dg
from discretegrad.ops.noise import uniform


def gradient(surrogate, logits, *args, **kwargs):
    leaf = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(surrogate(leaf, *args, **kwargs).sum(), leaf)[0]


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_with_two_categories_all_trees_are_disarm(pairs):
    """C = 2: tree = SB = IW (whose weight is the tree's share there) = Bernoulli DisARM on the logits' difference."""
    logits = torch.randn(50, 3, 2, dtype=torch.float64)
    indices = dg.DisARMTree(pairs).sample(logits).indices
    values = torch.randn(2 * pairs, 50, dtype=torch.float64)
    tree = gradient(dg.functional.disarm_tree, logits, indices, values)
    for other in (
        gradient(dg.functional.disarm_sb, logits, indices, values),
        gradient(dg.functional.disarm_sb, logits, indices, values, order="descending"),
        gradient(dg.functional.disarm_iw, logits, indices, values, order=None),
        gradient(dg.functional.disarm_iw, logits, indices, values),
        gradient(dg.functional.disarm_tree, logits, indices, values, tree="huffman"),
        gradient(dg.functional.disarm_tree, logits, indices, values, tree=(1, 0)),
    ):
        torch.testing.assert_close(other, tree, rtol=1e-11, atol=1e-13)
    binary = gradient(dg.functional.disarm, logits[..., 1] - logits[..., 0], indices, values)
    torch.testing.assert_close(binary, tree[..., 1], rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(tree[..., 0], -tree[..., 1], rtol=1e-11, atol=1e-13)


def test_disarm_is_its_published_formula():
    logits = torch.randn(100, 4, dtype=torch.float64)
    indices = dg.DisARM().sample(logits).indices
    values = torch.randn(2, 100, dtype=torch.float64)
    got = gradient(dg.functional.disarm, logits, indices, values)
    b, other = indices
    sign = 1.0 - 2.0 * other
    expected = 0.5 * (values[0] - values[1]).unsqueeze(-1) * sign * (b != other) * logits.abs().sigmoid()
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_importance_weights_are_their_published_product():
    """w_n = prod_{i<n} (1-q_i)^2 / (1-2q_i) max(q_n, 1-q_n), in ascending order."""
    logits = torch.randn(200, 1, 6, dtype=torch.float64).sort(-1).values
    indices = dg.DisARMIW().sample(logits).indices
    values = torch.randn(2, 200, dtype=torch.float64)
    got = gradient(dg.functional.disarm_iw, logits, indices, values)
    p = logits.softmax(-1).squeeze(1)
    sticks = p / p.flip(-1).cumsum(-1).flip(-1)
    passed = ((1 - sticks).square() / (1 - 2 * sticks)).cumprod(-1)
    expected = torch.zeros_like(p)
    for b, (z, other) in enumerate(indices.squeeze(-1).T.tolist()):
        if z == other:
            continue
        n = min(z, other)
        weight = (passed[b, n - 1] if n else 1.0) * torch.maximum(sticks[b, n], 1 - sticks[b, n])
        half = (values[0, b] - values[1, b]) / 2
        expected[b, z] += half * weight
        expected[b, other] -= half * weight
    torch.testing.assert_close(got.squeeze(1), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("points", [2, 3, 7])
def test_leave_one_out_is_reinforce_with_the_others_mean(points):
    logits = torch.randn(20, 3, 5, dtype=torch.float64)
    indices = dg.RLOO(points).sample(logits).indices
    values = torch.randn(points, 20, dtype=torch.float64)
    got = gradient(dg.functional.rloo, logits, indices, values)
    others = (values.sum(0) - values) / (points - 1)
    expected = gradient(dg.functional.reinforce, logits, indices, values - others)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


def test_reinforce_is_the_gradient_of_log_prob():
    logits = torch.randn(20, 3, 5, dtype=torch.float64)
    indices = dg.Reinforce(4).sample(logits).indices
    values = torch.randn(4, 20, dtype=torch.float64)

    def by_autograd(leaf):
        log_probs = torch.distributions.Categorical(logits=leaf).log_prob(indices).sum(-1)
        return (log_probs * values).mean(0)

    got = gradient(dg.functional.reinforce, logits, indices, values)
    torch.testing.assert_close(got, gradient(by_autograd, logits), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_bernoulli_is_two_categories(latent):
    logits = torch.randn(30, 4, dtype=torch.float64)
    indices = dg.RLOO(3, "bernoulli").sample(logits).indices
    values = torch.randn(3, 30, dtype=torch.float64)
    binary = gradient(dg.functional.rloo, logits, indices, values, latent="bernoulli")
    two = gradient(dg.functional.rloo, torch.stack((torch.zeros_like(logits), logits), -1), indices, values)
    torch.testing.assert_close(binary, two[..., 1], rtol=1e-12, atol=1e-14)


def test_all_pairs_statistic_is_the_average_over_all_pairs():
    """Two coupled pairs: 2 coupled and 4 crossed pairs of points, each counted once."""
    logits = torch.randn(40, 2, 5, dtype=torch.float64)
    indices = dg.DisARMTree(2).sample(logits).indices
    values = torch.randn(4, 40, dtype=torch.float64)
    got = gradient(dg.functional.disarm_tree, logits, indices, values)
    total = torch.zeros_like(got)
    for i in range(4):
        for j in range(i + 1, 4):
            coupled = (i, j) in ((0, 1), (2, 3))
            function = dg.functional.disarm_tree if coupled else dg.functional.rloo
            total += gradient(function, logits, indices[[i, j]], values[[i, j]])
    torch.testing.assert_close(got, total / 6, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("order", [None, "ascending", "descending", "abs"])
def test_order_is_a_relabelling(order):
    """An ordered tree on some logits is the unordered one on the sorted logits."""
    logits = torch.randn(40, 2, 5, dtype=torch.float64)
    key = {None: torch.arange(5).expand(40, 2, 5).double(), "ascending": logits, "descending": -logits}
    ranking = key.get(order, logits.abs()).argsort(-1)
    indices = dg.DisARMTree(order=order).sample(logits).indices
    values = torch.randn(2, 40, dtype=torch.float64)
    got = gradient(dg.functional.disarm_tree, logits, indices, values, order=order)
    ranks = ranking.argsort(-1).expand(2, -1, -1, -1).gather(-1, indices.unsqueeze(-1)).squeeze(-1)
    on_sorted = gradient(dg.functional.disarm_tree, logits.gather(-1, ranking), ranks, values)
    torch.testing.assert_close(got.gather(-1, ranking), on_sorted, rtol=1e-12, atol=1e-14)


def test_named_trees_are_user_trees():
    logits = torch.randn(40, 2, 5, dtype=torch.float64)
    indices = dg.DisARMTree().sample(logits).indices
    values = torch.randn(2, 40, dtype=torch.float64)
    for name, tree in (("balanced", (((0, 1), 2), (3, 4))), ("caterpillar", (0, (1, (2, (3, 4)))))):
        named = gradient(dg.functional.disarm_tree, logits, indices, values, tree=name)
        own = gradient(dg.functional.disarm_tree, logits, indices, values, tree=tree)
        torch.testing.assert_close(named, own, rtol=1e-12, atol=1e-14)


def test_a_shift_of_the_values_or_logits_changes_nothing_for_differences():
    logits = torch.randn(40, 2, 5, dtype=torch.float64)
    values = torch.randn(2, 40, dtype=torch.float64)
    for function, estimator in ((dg.functional.rloo, dg.RLOO()), (dg.functional.disarm_tree, dg.DisARMTree())):
        indices = estimator.sample(logits).indices
        plain = gradient(function, logits, indices, values)
        torch.testing.assert_close(gradient(function, logits, indices, values + 7), plain, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(gradient(function, logits + 3, indices, values), plain, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(plain.sum(-1), torch.zeros(40, 2).double(), rtol=0, atol=1e-12)


def test_exact_has_no_variance_and_coupling_has_less_than_independence_for_disarm():
    """On one binary variable DisARM never has more variance than RLOO-2 (Dong et al. 2020)."""
    for _ in range(20):
        f, logits = table_function(1, 2), torch.randn(1, dtype=torch.float64)
        rloo = dg.exact.moments(dg.RLOO(latent="bernoulli"), f, logits).total_variance
        disarm = dg.exact.moments(dg.DisARM(), f, logits).total_variance
        exact = dg.exact.moments(dg.Exact(latent="bernoulli"), f, logits).total_variance
        assert exact == 0
        assert disarm <= rloo * (1 + 1e-12)


@pytest.mark.parametrize("name", ["DisARMTree", "DisARMSB", "DisARMIW"])
def test_cross_terms_beat_averaged_pairs(name):
    """Two pairs with cross terms have less variance than half that of one pair, on problems with interactions."""
    f, logits = table_function(2, 3), logits_of("ordinary", 2, 3)
    one = dg.exact.moments(getattr(dg, name)(num_pairs=1), f, logits).total_variance
    two = dg.exact.moments(getattr(dg, name)(num_pairs=2), f, logits).total_variance
    assert two < 0.5 * one


def test_straight_through_is_the_softmax_jacobian_times_the_gradient_of_f():
    logits = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, dtype=torch.float64)
    draw = dg.StraightThrough(2).sample(logits)
    loss = dg.StraightThrough(2).surrogate(draw, (draw.points * weight).sum((-1, -2)).exp())
    (got,) = torch.autograd.grad(loss.sum(), logits)
    one_hots = torch.nn.functional.one_hot(draw.indices, 4).double()
    of_f = ((one_hots * weight).sum((-1, -2)).exp()[..., None, None] * weight).mean(0)
    p = logits.detach().softmax(-1)
    expected = p * (of_f - (p * of_f).sum(-1, keepdim=True))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_gumbel_softmax_is_its_published_formula(temperature):
    """softmax((logits + G) / temperature) with G = -log(-log(1 - U)), given the same uniforms; hard is its arg max."""
    logits = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    uniforms = uniform((2, 6, 3, 4), logits, torch.Generator().manual_seed(7))
    expected = ((logits - (-torch.log1p(-uniforms)).log()) / temperature).softmax(-1)
    cotangent = torch.randn_like(expected)
    (expected_gradient,) = torch.autograd.grad((expected * cotangent).sum(), logits)
    for hard in (False, True):
        estimator = dg.GumbelSoftmax(temperature, hard, num_samples=2)
        points = estimator.sample(logits, torch.Generator().manual_seed(7)).points
        one_hots = torch.nn.functional.one_hot(expected.argmax(-1), 4).double()
        torch.testing.assert_close(points, one_hots if hard else expected, rtol=1e-12, atol=1e-14)
        (gradient,) = torch.autograd.grad((points * cotangent).sum(), logits)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-12, atol=1e-14)


def test_batch_leave_one_out_subtracts_the_mean_of_the_others():
    estimator = dg.Reinforce(2, baseline=dg.BatchLeaveOneOut(dim=0))
    logits = torch.randn(4, 3, 5, dtype=torch.float64)
    indices = dg.Reinforce(2).sample(logits).indices
    values = torch.randn(2, 4, dtype=torch.float64)
    others = torch.stack([values[:, [j for j in range(4) if j != k]].mean() for k in range(4)])
    got = gradient(dg.functional.reinforce, logits, indices, values, baseline=estimator.control_variate)
    expected = gradient(dg.functional.reinforce, logits, indices, values - others)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_log_prob_against_torch_distributions(latent):
    logits = torch.randn((5, 3) if latent == "bernoulli" else (5, 3, 4), dtype=torch.float64)
    points = dg.Reinforce(2, latent=latent).sample(logits).points
    family = torch.distributions.Bernoulli if latent == "bernoulli" else torch.distributions.OneHotCategorical
    expected = family(logits=logits).log_prob(points)
    torch.testing.assert_close(dg.objectives.log_prob(points, logits, 0, latent), expected)
    torch.testing.assert_close(dg.objectives.log_prob(points, logits, 1, latent), expected.sum(-1))
    mask = torch.tensor([True, False, True])
    padded = logits.clone()
    padded[:, 1] = torch.nan
    points[:, :, 1] = 0
    got = dg.objectives.log_prob(points, padded, 1, latent, mask)
    torch.testing.assert_close(got, expected[..., [0, 2]].sum(-1))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("event_dims", [0, 1, 2])
@pytest.mark.parametrize("variables", [(5, 2, 3), (1, 2, 3), (5, 1, 3), (2, 3), (3,), (1, 1), ()])
@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_log_prob_of_ids_is_that_of_points(latent, variables, event_dims, masked):
    """Values, and gradients that one-hots spread over logits shared by points, batch or variables."""
    shape = variables if latent == "bernoulli" else (*variables, 4)
    logits = torch.randn(shape, dtype=torch.float64)
    if latent == "categorical":
        logits[..., 1] = -torch.inf
    logits.requires_grad_()
    mask = (torch.rand(5, 2, 3) < 0.5) if masked else None
    ids = torch.randint(2, (7, 5, 2, 3)) * (1 if latent == "bernoulli" else 2)
    ids = ids if mask is None else torch.where(mask, ids, 0)
    points = ids.double() if latent == "bernoulli" else torch.nn.functional.one_hot(ids, 4).double()
    found = []
    for spelling in (points, ids):
        value = dg.objectives.log_prob(spelling, logits, event_dims, latent, mask)
        found.append((value, torch.autograd.grad(value.sin().sum(), logits)[0]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert found[1][0].shape == (7, 5, 2, 3)[: 4 - event_dims]
    assert found[1][0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_log_prob_at_a_forbidden_category_is_the_same_by_ids(dtype):
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [-torch.inf, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    ids = torch.tensor([[1, 1], [0, 2], [1, 0]])
    points = torch.nn.functional.one_hot(ids, 3).to(dtype)
    found = []
    for spelling in (points, ids):
        apart = dg.objectives.log_prob(spelling, logits, 0)
        joint = dg.objectives.log_prob(spelling, logits)
        found.append((apart, joint, torch.autograd.grad(apart.sum(), logits)[0]))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    apart, joint, gradient = found[1]
    assert apart[0, 0] == torch.finfo(apart.dtype).min
    assert joint[2] == -torch.inf
    assert gradient.isfinite().all()


def test_log_prob_of_ids_makes_nothing_of_the_one_hots_size():
    """The sizes of all tensors that torch's operators return, forward and backward."""
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in torch.utils._pytree.tree_leaves(result) if isinstance(t, torch.Tensor))
            return result

    ids = torch.randint(20, (6, 5, 3))
    for shape in ((3, 20), (5, 3, 20)):
        logits = torch.randn(shape, requires_grad=True)
        with Watch():
            dg.objectives.log_prob(ids, logits).sum().backward()
        assert max(sizes) <= 5 * 3 * 20
        assert logits.grad is not None
        with Watch():  # what the watch would have seen
            dg.objectives.log_prob(torch.nn.functional.one_hot(ids, 20).float(), logits)
        assert max(sizes) == 6 * 5 * 3 * 20
        sizes.clear()


def test_log_prob_of_ids_under_vmap_and_compile():
    logits = torch.randn(4, 5, 3, 6, dtype=torch.float64)
    ids = torch.randint(6, (4, 2, 5, 3))

    def gradient(ids, logits):
        return torch.func.grad(lambda logits: dg.objectives.log_prob(ids, logits).square().sum())(logits)

    expected = torch.stack([gradient(i, one) for i, one in zip(ids, logits, strict=True)])
    torch.testing.assert_close(torch.func.vmap(gradient)(ids, logits), expected)
    compiled = torch.compile(dg.objectives.log_prob, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(ids[0], logits[0]), dg.objectives.log_prob(ids[0], logits[0]))


@pytest.mark.parametrize(
    ("ids", "error", "match"),
    [
        (torch.zeros(2, 5, 3, dtype=torch.int32), TypeError, "points are int64 ids, or one-hots"),
        (torch.zeros(2, 5, 4, dtype=torch.int64), ValueError, r"ids of shape \(2, 5, 4\) do not belong to logits of"),
        (torch.zeros(3, dtype=torch.int64), ValueError, "do not belong to logits of"),
        (torch.zeros(2, 5, 3, 6, dtype=torch.int64), ValueError, "integer points are ids, so give one-hots as"),
        (torch.full((2, 5, 3), 6), ValueError, r"indices must lie in 0\.\.5"),
        (torch.full((2, 5, 3), -1), ValueError, r"indices must lie in 0\.\.5"),
    ],
)
def test_log_prob_refuses_other_ids(ids, error, match):
    with pytest.raises(error, match=match):
        dg.objectives.log_prob(ids, torch.zeros(5, 3, 6))


def test_multi_sample_bound_against_brute_force():
    log_weights = torch.randn(7, 3, dtype=torch.float64)
    expected = log_weights.exp().mean(0).log()
    torch.testing.assert_close(dg.objectives.multi_sample_bound(log_weights), expected)
    torch.testing.assert_close(dg.objectives.multi_sample_bound(log_weights - 1e4), expected - 1e4)
