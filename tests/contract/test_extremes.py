"""What no estimator may see: a common offset of a row's logits, and f's gradient at what has no probability."""

import pytest
import torch
from catalogue import CATEGORICAL, JOINT, every, make

import discretegrad as dg
from discretegrad.draw import _lowest
from discretegrad.objectives import log_prob

LOWEST = torch.finfo(torch.float32).min
BY_MAGNITUDE = ("tree-balanced-abs", "sb-abs", "iw-abs")
"""Ordered by the logits' magnitudes, which an offset changes, and with them which noise draws what."""

OFFSETS = torch.tensor([1e6, 1e7, -1e8, 1e8, -1e9, 3e38, LOWEST])
BEFORE = torch.tensor(
    [[0.0, 0.25, -1.5, 2.0, 0.5], [0.0, 1.0, -1.0, 2.0, 1.0], [0.0, 8.0, 0.0, -8.0, 0.0], *[[0.0] * 5] * 4]
)
"""Rows of float32 logits, to each of which its offset can be added without rounding."""


def smooth(points):
    weight = torch.linspace(-1.0, 1.0, points[0, 0].numel(), dtype=points.dtype).reshape(points.shape[2:])
    return (points * weight).flatten(2).sum(-1).sin()


def estimate(estimator, logits, f, seed=0):
    """Ids, points, values and the gradient, all from one seed; what learns gets its loss too."""
    leaf = logits.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    draw = estimator.sample(leaf, torch.Generator().manual_seed(seed))
    values = f(draw.points)
    loss = estimator.surrogate(draw, values)
    for learner in estimator.learners:
        loss = loss.sum() + learner.loss(draw, values) if hasattr(learner, "loss") else loss
    parameters = [p for learner in estimator.learners for p in learner.parameters()]
    gradient, *learned = torch.autograd.grad(loss.sum(), [leaf, *parameters], allow_unused=True)
    return draw.indices, draw.points.detach(), values.detach(), gradient, *(g for g in learned if g is not None)


@pytest.mark.parametrize("name", [name for name in CATEGORICAL if name not in BY_MAGNITUDE])
def test_a_common_offset_changes_nothing(name):
    """The same noise gives the same points, values and gradients, to the rounding of the arithmetic."""
    logits = BEFORE.repeat(4, 1).unsqueeze(1)
    moved = logits + OFFSETS.repeat(4).reshape(-1, 1, 1)
    assert torch.equal(*(x.double() - x.double().amax(-1, keepdim=True) for x in (logits, moved)))
    (ids, *expected), (got_ids, *got) = (estimate(make(name), each, smooth) for each in (logits, moved))
    assert torch.equal(ids, got_ids)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, kind in CATEGORICAL.items() if isinstance(kind(5), dg.Pathwise)])
def test_ids_keep_their_law_however_large_the_offset(name):
    """Four equal logits give each id a quarter of the draws; wrong in one of a million runs at most."""
    ids = make(name, categories=4).sample(torch.full((20_000, 1, 4), 1e8)).indices.flatten()
    counts = ids.bincount(minlength=4)
    if name == "argmax-st":  # the first of equals, always
        assert counts[0] == len(ids)
    else:
        assert ((counts / len(ids) - 0.25).abs() < 5.5 * (0.1875 / len(ids)) ** 0.5).all()


@pytest.mark.parametrize(("name", "latent"), every())
def test_the_largest_and_the_lowest_numbers_are_finite(name, latent):
    """Points, values and gradients; nothing that is impossible is drawn."""
    if latent == "bernoulli":
        logits = torch.tensor([[LOWEST, 3e38], [-LOWEST, 1e8], [-1e8, 0.0]])
        possible = torch.stack((logits < 1e4, logits > -1e4), -1)
    else:
        rows = [
            [LOWEST] * 3,
            [0.0, 3e38, -1.0],
            [LOWEST, 0.5, LOWEST],
            [3e38, LOWEST, 0.0],
            [-torch.inf, LOWEST, LOWEST],
        ]
        logits = torch.tensor(rows).unsqueeze(1)
        possible = logits.softmax(-1) > 0
    draw_ids, *rest = estimate(make(name, latent, 3), logits, smooth)
    assert all(tensor.isfinite().all() for tensor in rest)
    if latent == "categorical" and (
        name not in JOINT or name.startswith("ars")
    ):  # others weigh the impossible with zero
        assert possible.expand(*draw_ids.shape, -1).gather(-1, draw_ids.unsqueeze(-1)).all()


@pytest.mark.parametrize("kind", ["log-prob", "infinite", "nan"])
@pytest.mark.parametrize(("name", "latent"), [(n, k) for n, k in every() if make(n, k).needs_grad_f])
def test_the_gradient_of_f_is_dropped_where_there_is_no_probability(name, latent, kind):
    """Before any arithmetic: whatever it is there, the estimate is that of an f which does not look there."""
    lows = (-torch.inf, torch.finfo(torch.float64).min)
    if latent == "bernoulli":
        logits = torch.tensor([[0.3, low, -low, -0.7] for low in lows], dtype=torch.float64)
        open_ = logits.abs() < 1e4
    else:
        rows = [[[0.0, 0.5, low, low], [low, -0.3, 0.1, 1.0]] for low in lows]
        logits = torch.tensor(rows, dtype=torch.float64)
        open_ = logits > -1e4

    def clean(points):
        return smooth(torch.where(open_, points, points.detach()))

    def f(points):
        if kind == "log-prob":
            return clean(points) + log_prob(points, logits, latent=latent)
        here = torch.where(open_, 1.0, points if latent == "categorical" else points * (1 - points))
        bad = here.sqrt() if kind == "infinite" else torch.where(here > 0, here.log(), 0.0)
        return clean(points) + torch.where(open_, 0.0, bad).flatten(2).sum(-1)

    def expected_f(points):
        if kind != "log-prob":
            return clean(points)
        return clean(points) + log_prob(torch.where(open_, points, points.detach()), logits, latent=latent)

    estimator, other = make(name, latent, 4), make(name, latent, 4)
    got, expected = estimate(estimator, logits, f), estimate(other, logits, expected_f)
    if kind != "log-prob":  # f does have such a gradient
        points = got[1].clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(points).sum(), points)
        assert not slope.isfinite().all()
    for one, two in zip(got, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)
        assert one.isfinite().all()


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_a_look_at_two_logits_lets_gradients_pass_only_where_all_categories_are_possible(latent):
    """Around the least probability that counts, with and without an offset; never under a mask."""
    lowest = -_lowest(torch.float32, 3 if latent == "categorical" else 2)
    passed = set()
    for spread in (1.0, lowest - 0.1, lowest + 0.1, torch.inf):
        for offset in (0.0, -0.4 * lowest, 1e8) if latent == "categorical" else (0.0,):
            row = [0.0, -0.5, -spread] if latent == "categorical" else [0.3, spread, 0.0]
            logits = torch.tensor([row]) + offset
            draw = make("straight-through", latent).sample(logits)
            if draw._all_possible():
                passed.add(spread)
                assert draw._possible().all()
            off = torch.zeros(logits.shape[: 1 if latent == "categorical" else 2], dtype=torch.bool)
            assert not make("straight-through", latent).sample(logits, mask=off)._all_possible()
    assert passed == {1.0, lowest - 0.1}
