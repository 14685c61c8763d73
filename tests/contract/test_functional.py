"""The second phase as functions: the estimators' own numbers, from ids and values alone."""

import itertools

import pytest
import torch
from catalogue import linear

import discretegrad as dg

F = dg.functional


FORMS = {
    "reinforce": (dg.Reinforce(3), F.reinforce, {}),
    "reinforce-batch": (dg.Reinforce(2, dg.BatchLeaveOneOut()), F.reinforce, {"baseline": dg.BatchLeaveOneOut()}),
    "rloo": (dg.RLOO(3), F.rloo, {}),
    "disarm": (dg.DisARM(2), F.disarm, {}),
    "disarm-iw": (dg.DisARMIW(), F.disarm_iw, {}),
    "disarm-sb": (dg.DisARMSB(2, "descending"), F.disarm_sb, {"order": "descending"}),
    "disarm-tree": (dg.DisARMTree(2, "huffman"), F.disarm_tree, {"tree": "huffman"}),
    "unordered": (dg.UnorderedSet(3), F.unordered_set, {}),
    "unordered-plain": (dg.UnorderedSet(2, baseline=False), F.unordered_set, {"baseline": False}),
    "unordered-local": (dg.UnorderedSet(3, event_dims=0), F.unordered_set, {"event_dims": 0}),
    "sum-and-sample": (dg.SumAndSample(), F.sum_and_sample, {}),
    "sum-and-sample-2-3": (dg.SumAndSample(2, 3), F.sum_and_sample, {"k": 2}),
    "local": (dg.LocalExpectation(), F.local_expectation, {}),
    "local-2": (dg.LocalExpectation(2), F.local_expectation, {}),
    "local-own": (dg.LocalExpectation(event_dims=0), F.local_expectation, {"event_dims": 0}),
    "vimco": (dg.VIMCO(3), F.vimco, {}),
    "vimco-arithmetic": (dg.VIMCO(3, "arithmetic"), F.vimco, {"baseline": "arithmetic"}),
    "disarm-bound": (dg.DisARMBound(2), F.disarm_bound, {}),
    "disarm-bound-tree": (
        dg.DisARMBound(1, ((0, 1), (2, (3, 4))), "ascending"),
        F.disarm_bound,
        {"tree": [[0, 1], [2, [3, 4]]], "order": "ascending"},
    ),
}
BITS = ("reinforce", "rloo", "unordered", "sum-and-sample-2-3", "local-2", "vimco", "disarm-bound")


@pytest.mark.parametrize("masked", [False, True], ids=["", "masked"])
@pytest.mark.parametrize(
    ("name", "latent"), [*((name, None) for name in FORMS), *itertools.product(BITS, ("bernoulli",))]
)
def test_a_functional_form_is_its_estimator(name, latent, masked):
    """Value and gradient; where a mask is off ids may be anything, but for a base and its alternatives."""
    estimator, form, options = FORMS[name]
    if latent is not None:
        estimator, options = estimator.replace(latent=latent), {**options, "latent": latent}
    logits = torch.randn((4, 3) if estimator.latent == "bernoulli" else (4, 3, 5), dtype=torch.float64)
    logits.requires_grad_()
    mask = torch.tensor([[True, False, True], [True, True, True], [False, True, True], [True, True, False]])
    mask = mask if masked else None
    draw = estimator.sample(logits, mask=mask)
    ids = draw.indices.clone()
    if masked and "local" not in name:
        ids[:, ~mask] = torch.tensor([-100, 99, -1])
    values = torch.randn(ids.shape[:3] if options.get("event_dims") == 0 else ids.shape[:2], dtype=torch.float64)
    found = []
    for loss in (estimator.surrogate(draw, values), form(logits, ids, values, mask=mask, **options)):
        found.append((loss, torch.autograd.grad(loss.sum(), logits)[0]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_padding_of_a_local_expectation_may_hold_anything():
    """Where its points have no alternatives of what is off."""
    logits = torch.randn(4, 3, 5, requires_grad=True)
    mask = torch.tensor([True, True, False]).expand(4, 3)
    ids = dg.LocalExpectation(2).sample(logits, mask=mask).indices
    values, padded = torch.randn(len(ids), 4), ids.clone()
    padded[..., 2] = -100
    gradients = [
        torch.autograd.grad(F.local_expectation(logits, one, values, mask=mask).sum(), logits)[0]
        for one in (ids, padded)
    ]
    assert torch.equal(*gradients)


def test_padding_counts_nothing_in_log_prob():
    logits = torch.randn(4, 3, 5, requires_grad=True)
    mask = torch.tensor([True, True, False]).expand(4, 3)
    ids = torch.randint(5, (2, 4, 3))
    padded = ids.masked_fill(~mask, -100)
    results = [dg.objectives.log_prob(one, logits, mask=mask) for one in (ids, padded)]
    assert torch.equal(*results)
    with pytest.raises(ValueError, match=r"lie in 0\.\.4"):
        dg.objectives.log_prob(padded, logits)


def test_ids_that_count_are_still_looked_at():
    logits, values = torch.zeros(4, 3, 5), torch.zeros(2, 4)
    mask = torch.tensor([True, True, False]).expand(4, 3)
    with pytest.raises(ValueError, match=r"lie in 0\.\.4"):
        F.rloo(logits, torch.full((2, 4, 3), -100), values, mask=mask)
    with pytest.raises(ValueError, match="a point beside the k = 2"):
        F.sum_and_sample(logits, torch.zeros(2, 4, 3).long(), values, k=2)


# Logits that depend on the ids before


def by_hand(logits, ids, values, mask):
    """Leave-one-out over the K sequences of a prompt, each with the log-probability of its own logits."""
    log_probs = logits.log_softmax(-1).gather(-1, ids.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    log_prob = torch.where(mask, log_probs, 0.0).sum(-1)
    completions = values.shape[-1]
    baseline = (values.sum(-1, keepdim=True) - values) / (completions - 1)
    return ((values - baseline) * log_prob).sum()


def test_the_recipe_for_sequences_is_leave_one_out_by_hand():
    prompts, completions, steps, vocabulary = 3, 4, 6, 11
    logits = torch.randn(prompts, completions, steps, vocabulary, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(steps) < torch.randint(1, steps + 1, (prompts, completions, 1))
    ids = torch.randint(vocabulary, (prompts, completions, steps)).masked_fill(~mask, -100)
    values = torch.randn(prompts, completions, dtype=torch.float64)
    surrogate = F.reinforce(logits, ids.unsqueeze(0), values.unsqueeze(0), dg.BatchLeaveOneOut(1), mask=mask)
    torch.testing.assert_close(surrogate.detach(), values)
    (found,) = torch.autograd.grad(surrogate.sum(), logits)
    (expected,) = torch.autograd.grad(by_hand(logits, ids, values, mask), logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", ["as they are", "one point"])
def test_leave_one_out_of_points_with_logits_of_their_own_names_the_recipe(shape):
    logits, ids, values = torch.zeros(3, 4, 6, 11), torch.zeros(3, 4, 6).long(), torch.zeros(3, 4)
    if shape == "one point":
        ids, values = ids.unsqueeze(0), values.unsqueeze(0)
    with pytest.raises(ValueError, match=r"functional\.reinforce\(logits\[P, K, T, V\], ids\[1, P, K, T\]"):
        F.rloo(logits, ids, values)


def test_values_of_time_steps():
    """Costs of their own step add up to E f; returns-to-go have its gradient, and its value at the first step."""
    logits = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)  # [batch, T, C]
    ids = dg.Exact().sample(logits).indices[:7]
    costs = torch.randn(7, 2, 5, dtype=torch.float64)
    to_go = costs.flip(-1).cumsum(-1).flip(-1)
    total = costs.sum(-1).mean(0)
    torch.testing.assert_close(F.reinforce(logits, ids, costs).sum(-1), total)
    torch.testing.assert_close(F.reinforce(logits, ids, to_go)[..., 0], total)


# Learners


@pytest.mark.parametrize("name", ["running", "learned", "nvil", "linear"])
def test_learners_take_the_ids_of_a_loop_of_one_s_own(name):
    """What they learn is what they would have learned from the estimator's own draw, padding included."""
    logits = torch.randn(6, 3, 4, requires_grad=True)
    mask = torch.tensor([True, True, False]).expand(6, 3)
    found = []
    for own in (False, True):
        torch.manual_seed(0)
        make = {
            "running": lambda: dg.nn.RunningMean(0.5),
            "learned": lambda: dg.nn.LearnedBaseline(torch.nn.Linear(12, 1)),
            "nvil": lambda: dg.nn.NVILBaseline(torch.nn.Linear(12, 1)),
            "linear": linear,
        }
        baseline = make[name]()
        estimator = dg.Reinforce(2, baseline)
        draw = estimator.sample(logits, torch.Generator().manual_seed(0), mask)
        values = draw.points[..., 0].sum(-1)
        if own:
            ids = draw.indices.masked_fill(~mask, -100)
            surrogate = F.reinforce(logits, ids, values, baseline, mask=mask)
            draw = F.draw(logits, ids, mask=mask)
        else:
            surrogate = estimator.surrogate(draw, values)
        loss = baseline.loss(draw, values)
        baseline.update(draw, values)
        found.append([surrogate, loss, *baseline.buffers()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_functional_form_compiles():
    logits, ids, values = torch.randn(4, 3, 5, requires_grad=True), torch.randint(5, (2, 4, 3)), torch.randn(2, 4)
    torch._dynamo.reset()
    compiled = torch.compile(F.rloo, fullgraph=True, backend="aot_eager")
    found = [torch.autograd.grad(form(logits, ids, values).sum(), logits)[0] for form in (F.rloo, compiled)]
    torch.testing.assert_close(*found)
