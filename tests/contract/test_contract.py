"""What every estimator promises: shapes, dtypes, determinism, the value, the gradient of f's own parts."""

import pytest
import torch
from catalogue import ALTERNATIVES, JOINT, every, make, noisy

import discretegrad as dg

CATEGORIES = 4
SHAPES = [((), (3,)), ((2,), (3,)), ((2, 3), (2, 2)), ((5,), ()), ((), ())]
"""(batch, event) pairs: no batch, one batch dimension, several of both, no event, one lone variable."""


def problem(latent, batch, event, dtype=torch.float64):
    """Logits, and an f with a parameter; f is smooth in the points."""
    tail = () if latent == "bernoulli" else (CATEGORIES,)
    logits = torch.randn((*batch, *event, *tail), dtype=dtype, requires_grad=True)
    weight = torch.randn((*event, *tail), dtype=dtype, requires_grad=True)
    dims = tuple(range(-len(event) - len(tail), 0))

    def f(points):
        product = points * weight
        return (product.sum(dims) if dims else product).sin() + 1

    return logits, weight, f


def estimator_for(name, latent, event):
    return make(name, latent, CATEGORIES, event_dims=len(event))


def judges_any_ids(estimator):
    """Whether ids and values suffice for its second phase."""
    keeps_noise = isinstance(getattr(estimator, "weights", None), dg.UniformScore | dg.DirichletScore)
    return not (estimator.needs_grad_f or noisy(estimator) or keeps_noise)


def average_of(estimator, draw, values):
    """The coupling's weighted average over the points that have ids, or the bound that an estimator is made for."""
    values = values[: draw.indices.shape[0]]
    drawn, values = draw.drawn.whole(values)  # a point counts as often as the coupling drew it
    if isinstance(getattr(estimator, "objective", None), dg.objectives.MultiSampleBound):
        return values.exp().mean(0).log()
    if isinstance(getattr(estimator, "objective", None), dg.objectives.AntitheticBound):
        return (values[0::2].exp().mean(0).log() + values[1::2].exp().mean(0).log()) / 2
    weights = drawn.value_weights()
    if weights is None:
        return values.mean(0)
    return (weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim)) * values).sum(0)


@pytest.mark.parametrize(("name", "latent"), every())
def test_shapes_of_points_values_and_gradients(name, latent):
    for batch, event in SHAPES:  # one test each would take longer than what is tested
        check_shapes(name, latent, batch, event)


def check_shapes(name, latent, batch, event):
    estimator = estimator_for(name, latent, event)
    logits, _, f = problem(latent, batch, event)
    draw = estimator.sample(logits)
    points = draw.points.shape[0]
    assert estimator.evaluations in (points, None)
    assert draw.evaluations == points
    assert draw.indices.shape == (draw.indices.shape[0], *batch, *event)
    assert draw.indices.dtype == torch.int64
    assert draw.points.shape == (points, *logits.shape)
    assert draw.points is draw.points
    loss = estimator.surrogate(draw, f(draw.points))
    assert loss.shape == batch
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.shape == logits.shape
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("name", "latent"), every())
def test_points_are_the_one_hots_of_the_ids(name, latent):
    estimator = estimator_for(name, latent, (3,))
    draw = estimator.sample(problem(latent, (2,), (3,))[0])
    points = draw.points[: draw.indices.shape[0]]
    if name == "gumbel-soft":
        assert ((points > 0) & (points < 1)).all()
    elif latent == "bernoulli":
        assert torch.equal(points, draw.indices.double())
    else:
        assert torch.equal(points, torch.nn.functional.one_hot(draw.indices, CATEGORIES).double())


@pytest.mark.parametrize(("name", "latent"), every())
def test_an_f_of_ids_gives_what_an_f_of_points_gives(name, latent):
    """Or is refused before f is called: by estimators that need its gradient, or values at points without ids."""
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (2,), (3,))

    def of_ids(ids):
        assert ids.dtype == torch.int64
        return f((ids if latent == "bernoulli" else torch.nn.functional.one_hot(ids, CATEGORIES)).double())

    draw = estimator.sample(logits)
    assert estimator.takes_ids == (
        not estimator.needs_grad_f and draw.evaluations == len(draw.indices) and draw.drawn.relaxed is None
    )
    if not estimator.takes_ids:
        with pytest.raises(ValueError, match="use on='points'"):
            estimator(pytest.fail, logits, on="ids")
        return
    found = []
    for on, function in (("points", f), ("ids", of_ids)):
        loss = dg.expectation(function, logits, estimator, generator=torch.Generator().manual_seed(0), on=on)
        found.append((loss, torch.autograd.grad(loss.sum(), logits)[0]))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("name", "latent"), every())
def test_dtypes(name, latent):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        check_dtypes(name, latent, dtype)


def check_dtypes(name, latent, dtype):
    """Points and gradient have the logits' dtype, the value that of f."""
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (2,), (3,), dtype)
    draw = estimator.sample(logits)
    values = f(draw.points).float()
    loss = estimator.surrogate(draw, values)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert draw.points.dtype == dtype
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype


@pytest.mark.parametrize(("name", "latent"), every())
def test_low_precision_agrees_with_high(name, latent):
    """Same ids, same values: bfloat16 logits give the float64 gradient up to the rounding of the result."""
    estimator = estimator_for(name, latent, (3,))
    if not judges_any_ids(estimator):
        pytest.skip("f itself rounds, or the noise does")
    low = problem(latent, (20,), (3,), torch.bfloat16)[0]
    high = low.detach().double().requires_grad_()
    indices = estimator.sample(low).indices
    values = torch.randn(indices.shape[0], 20)
    kind = dg.latent.LATENTS[latent]
    gradients = [
        torch.autograd.grad(estimator.surrogate(dg.draw.given(x, indices, kind), values).sum(), x)[0].double()
        for x in (low, high)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=2**-8, atol=1e-6)


def test_a_loss_scale_saves_small_gradients_in_half_precision():
    """Values of 1e-9 are nothing in float16; scaled by 2 ** 20, as a gradient scaler does, their gradient is there."""
    logits = torch.zeros(1, 2, 3, dtype=torch.float16, requires_grad=True)
    indices = torch.tensor([[[0, 1]], [[1, 2]]])
    values = torch.tensor([[1e-9], [-1e-9]])
    (dg.functional.rloo(logits, indices, values) * 2.0**20).sum().backward()
    expected = 2.0**20 * 1e-9 * torch.tensor([[[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]])
    torch.testing.assert_close(logits.grad.float(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("name", "latent"), every())
def test_a_generator_determines_the_draw(name, latent):
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (50,), (3,))

    def gradient(seed):
        loss = estimator(f, logits, generator=torch.Generator().manual_seed(seed))
        return torch.autograd.grad(loss.sum(), logits)[0]

    before = torch.random.get_rng_state()
    assert torch.equal(gradient(1), gradient(1))
    assert torch.equal(before, torch.random.get_rng_state())
    if name not in ("exact", "argmax-st"):
        assert not torch.equal(gradient(1), gradient(2))


@pytest.mark.parametrize(("name", "latent"), every())
def test_value_is_the_average_of_the_values(name, latent):
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (4,), (3,))
    draw = estimator.sample(logits)
    values = f(draw.points)
    expected = average_of(estimator, draw, values)
    torch.testing.assert_close(estimator.surrogate(draw, values), expected, rtol=1e-13, atol=0)
    if name == "exact":
        truth = torch.stack([dg.exact.expectation(f, one, latent) for one in logits])
        torch.testing.assert_close(expected, truth, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "latent"), every())
def test_gradient_of_f_s_own_parameters_is_the_plain_average_s(name, latent):
    """To the last bit: nothing of the estimator leaks into the decoder."""
    estimator = estimator_for(name, latent, (3,))
    logits, weight, f = problem(latent, (4,), (3,))
    draw = estimator.sample(logits)
    (got,) = torch.autograd.grad(estimator.surrogate(draw, f(draw.points)).sum(), weight, retain_graph=True)
    (expected,) = torch.autograd.grad(average_of(estimator, draw, f(draw.points.detach())).sum(), weight)
    if draw.evaluations == draw.indices.shape[0] and name not in JOINT and not estimator.of_bound:
        assert torch.equal(got, expected)
    else:  # weights, zeros for the extra points, or a bound may change the order of the sum
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "latent"), every())
def test_explicit_use_of_the_logits_in_f_adds_its_own_gradient(name, latent):
    """d/dlogits E f(z, logits) is the estimator's gradient plus the average of f's explicit one."""
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (4,), (3,))
    draw = estimator.sample(logits)
    plain = f(draw.points)
    explicit = logits.square().flatten(1).sum(-1)
    with_explicit = plain + explicit
    (got,) = torch.autograd.grad(estimator.surrogate(draw, with_explicit).sum(), logits, retain_graph=True)
    # The values that weigh the score include the explicit term; only its pathwise part is added on top.
    detached = plain + explicit.detach()
    (score,) = torch.autograd.grad(estimator.surrogate(draw, detached).sum(), logits)
    torch.testing.assert_close(got - score, 2 * logits.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "latent"), every())
def test_a_mask_switches_variables_off(name, latent):
    """Off: id 0, points 0, gradient 0, whatever the logits hold. On: as if the others were not there."""
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (6,), (3,))
    mask = torch.tensor([True, False, True]).expand(6, 3)
    padded = logits.detach().clone()
    padded[:, 1] = torch.nan
    padded.requires_grad_()
    draw = estimator.sample(padded, mask=mask)
    if name not in ALTERNATIVES:  # which try other values of padding too, with weight zero
        assert (draw.indices[:, :, 1] == 0).all()
    assert (draw.points[:, :, 1] == 0).all()
    loss = estimator.surrogate(draw, f(draw.points))
    (gradient,) = torch.autograd.grad(loss.sum(), padded)
    assert (gradient[:, 1] == 0).all()
    assert gradient[:, [0, 2]].isfinite().all()
    assert gradient[:, [0, 2]].abs().sum() > 0
    if judges_any_ids(estimator):
        kind = dg.latent.LATENTS[latent]
        alone = logits.detach()[:, [0, 2]].requires_grad_()
        if name == "exact":
            values = estimator.sample(alone).points.flatten(2).sum(-1).sin()
            (expected,) = torch.autograd.grad(estimator.surrogate(estimator.sample(alone), values).sum(), alone)
            values = draw.points.flatten(2).sum(-1).sin()
        else:
            values = torch.randn(draw.indices.shape[0], 6, dtype=torch.float64)
            kept = draw.indices[:, 0, 1] == 0
            other = dg.draw.given(alone, draw.indices[kept][..., [0, 2]], kind)
            (expected,) = torch.autograd.grad(estimator.surrogate(other, values[kept]).sum(), alone)
        (got,) = torch.autograd.grad(estimator.surrogate(draw, values).sum(), padded)
        torch.testing.assert_close(got[:, [0, 2]], expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "latent"), every())
def test_values_local_to_a_variable(name, latent):
    """[S, *batch, *event] values: every variable is a batch element of its own; masked ones count nothing."""
    estimator = make(name, latent, CATEGORIES, event_dims=0)
    logits, weight, _ = problem(latent, (4,), (3,))
    mask = torch.tensor([True, True, False])
    draw = estimator.sample(logits, mask=mask)
    local = (draw.points * weight).cos()
    local = local if latent == "bernoulli" else local.sum(-1)
    loss = estimator.surrogate(draw, local)
    assert loss.shape == (4, 3)
    assert (loss[:, 2] == 0).all()
    (together,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
    assert (together[:, 2] == 0).all()
    for v in range(2):
        (alone,) = torch.autograd.grad(loss[:, v].sum(), logits, retain_graph=True)
        assert torch.equal(alone[:, v], together[:, v])
        others = [i for i in range(3) if i != v]
        assert (alone[:, others] == 0).all()


@pytest.mark.parametrize(("name", "latent"), every())
def test_strides_do_not_matter(name, latent):
    estimator = estimator_for(name, latent, (3,))
    logits, _, f = problem(latent, (4,), (3,))
    strided = logits.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
    assert not strided.is_contiguous()
    gradients = []
    for x in (logits, strided):
        loss = estimator(f, x, generator=torch.Generator().manual_seed(0))
        gradients.append(torch.autograd.grad(loss.sum(), x)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "latent"), every())
def test_extreme_logits_give_finite_gradients(name, latent):
    estimator = estimator_for(name, latent, (2,))
    if latent == "bernoulli":
        logits = torch.tensor([[1e4, -1e4], [torch.inf, -torch.inf], [0.0, 30.0]])
    else:
        logits = torch.tensor([[1e4, -1e4, 0.0, 0.0], [-torch.inf, 3.0, -torch.inf, 2.0], [-torch.inf] * 3 + [-1e4]])
        logits = torch.stack((logits, logits.flip(0)), 1)
    logits.requires_grad_()
    draw = estimator.sample(logits)
    if latent == "categorical" and name != "exact":
        assert (logits.gather(-1, draw.indices[0].unsqueeze(-1)) > -torch.inf).all()
    loss = estimator.surrogate(draw, draw.points.square().flatten(2).sum(-1))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert gradient.isfinite().all()
    assert loss.isfinite().all()


@pytest.mark.parametrize(("name", "latent"), every())
def test_estimators_are_immutable_values(name, latent):
    estimator = make(name, latent)
    with pytest.raises(AttributeError):
        estimator.latent = "other"
    if not estimator.learners:  # which are objects with a state of their own
        assert estimator == make(name, latent)
        assert hash(estimator) == hash(make(name, latent))
    assert type(estimator).__name__ in repr(estimator)


@pytest.mark.parametrize("name", list(dg.ESTIMATORS))
def test_expectation_knows_every_name(name):
    bernoulli = dg.ESTIMATORS[name]().latent == "bernoulli"
    logits = torch.zeros(5, 3, requires_grad=True) if bernoulli else torch.zeros(5, 3, 4, requires_grad=True)
    loss = dg.expectation(lambda points: points.square().flatten(2).sum(-1), logits, estimator=name)
    assert loss.shape == (5,)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_padding_reaches_neither_the_loss_nor_a_baseline():
    """Padded time steps, each with variables of its own, whose values are NaN."""
    mask = torch.tensor([[True, True, False], [True, False, False]])
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    running = dg.nn.RunningMean(0.5)
    learned = dg.nn.LearnedBaseline(torch.nn.Linear(20, 1))
    for baseline in (None, running, learned, dg.BatchLeaveOneOut(dim=0)):
        estimator = dg.Reinforce(baseline=baseline)
        draw = estimator.sample(logits, mask=mask.unsqueeze(-1))
        values = torch.where(mask, draw.points.square().sum((-1, -2)) + 6.0, torch.nan)
        loss = estimator.surrogate(draw, values)
        assert torch.equal(loss.detach(), torch.where(mask, 10.0, 0.0).double())
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert gradient.isfinite().all()
        assert (gradient[~mask] == 0).all()
    running.update(draw, values)
    assert float(running.predict(values, draw, None)) == 10.0
    loss = learned.loss(draw, values)
    expected = (10.0 - learned.predict(values, draw, None)[mask].double()).square().mean()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_learned_baseline_takes_logits_of_any_dtype(dtype):
    estimator = dg.Reinforce(baseline=dg.nn.LearnedBaseline(torch.nn.Linear(12, 1)))
    draw = estimator.sample(torch.zeros(5, 3, 4, dtype=dtype, requires_grad=True))
    assert estimator.surrogate(draw, torch.ones(1, 5)).dtype == torch.float32


# A gradient that is made in the backward pass


@pytest.mark.parametrize("name", ["rloo", "reinforce", "tree", "iw", "flow", "tree-masked"])
def test_a_gradient_that_waits_is_that_of_the_surrogate_s_call(name, monkeypatch):
    """Scaled by what comes from the loss, any number of times, for several losses at once; what it is made of stays."""
    estimator = {"rloo": dg.RLOO(), "reinforce": dg.Reinforce(2), "iw": dg.DisARMIW(), "flow": dg.Flow()}.get(
        name, dg.DisARMTree()
    )
    mask = torch.rand(6, 3) < 0.7 if name == "tree-masked" else None
    logits = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
    draw = estimator.sample(logits, torch.Generator().manual_seed(0), mask)
    values, scales = torch.randn(2, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    waiting = estimator.surrogate(draw, values)
    assert estimator.weights.can_wait(estimator.coupling)
    monkeypatch.setattr(type(estimator.weights), "can_wait", lambda weights, coupling: False)
    made = estimator.replace().surrogate(draw, values)
    monkeypatch.undo()
    assert torch.equal(waiting, made)
    for scale in scales:
        got, expected = (torch.autograd.grad(s, logits, scale, retain_graph=True)[0] for s in (waiting, made))
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    together = [torch.autograd.grad(s, logits, scales, True, is_grads_batched=True)[0] for s in (waiting, made)]
    torch.testing.assert_close(*together, rtol=1e-12, atol=1e-14)
    values.zero_()
    if name == "reinforce":  # the others have made tensors of their own of them
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            waiting.sum().backward()
