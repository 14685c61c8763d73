"""The layer is the two phases of its estimator, whatever that is, and nothing is forgotten in silence."""

import copy
import itertools
import pickle

import pytest
import torch
from catalogue import every, make, slow_where

import discretegrad as dg

BATCH, CATEGORIES = 3, 4
LAYOUTS = [("samples_first", -1, False), ("batch_first", 1, True), (None, -1, True)]
IN_EVERY_LAYOUT = [(*one, *layout) for one, layout in itertools.product(every(), LAYOUTS)]
# One layout each is quick; all of them are a long proof.
REPEATED = [one for number, one in enumerate(IN_EVERY_LAYOUT) if number % 3 != number // 3 % 3]
LEARNING = [(n, k) for n, k in every() if make(n, k).learners]
NEED_VALUES = [(n, k) for n, k in every() if not isinstance(make(n, k), dg.Pathwise)]
PATHS = [(n, k) for n, k in every() if isinstance(make(n, k), dg.Pathwise)]


def problem(latent, dim=-1):
    """Logits `[B, 2]` and categories in `dim`, and a decoder's weight, which knows one example from the other."""
    event = (2,) if latent == "bernoulli" else (2, CATEGORIES)
    logits = torch.randn(BATCH, *event, dtype=torch.float64)
    weight = torch.randn(BATCH, *event, dtype=torch.float64)
    if latent == "categorical" and dim == 1:
        logits, weight = (tensor.movedim(-1, 1).contiguous() for tensor in (logits, weight))
    return logits.requires_grad_(), weight.requires_grad_()


def costs(points, weight):
    return (points * weight).flatten(1).sum(-1).sin() + 1.5


def state_of(learners):
    return [tensor.clone() for learner in learners for tensor in learner.state_dict().values()]


def gradients(loss, *of):
    return torch.autograd.grad(loss, of, allow_unused=True)


@pytest.mark.parametrize(("name", "latent", "fold", "dim", "masked"), slow_where(REPEATED, IN_EVERY_LAYOUT))
def test_it_is_the_two_phases_of_its_estimator(name, latent, fold, dim, masked):
    """Points, loss, all gradients, and what is learned, in every layout; with the same noise, to rounding."""
    own = make(name, latent, CATEGORIES)
    layer = dg.nn.DiscreteLatent(copy.deepcopy(own), dim=dim, fold=fold)
    logits, weight = problem(latent, dim)
    mask = torch.tensor([[True, True], [True, False], [False, False]]) if masked else None
    z = layer(logits, mask=mask, generator=torch.Generator().manual_seed(0))
    count = z.draw.evaluations
    if fold is None:
        points = z.points
        values = costs(points.flatten(0, 1), z.repeat(weight).flatten(0, 1)).unflatten(0, (count, BATCH))
    else:
        assert z.points.shape == (count * BATCH, *logits.shape[1:])
        values = costs(z.points, z.repeat(weight))
        assert values.shape == (count * BATCH,)
    loss = z.surrogate(values)
    assert loss.shape == (BATCH,)
    learned = [parameter for learner in layer.learners for parameter in learner.parameters()]
    got = gradients(loss.mean(), logits, weight, *learned)

    last = logits.movedim(1, -1) if latent == "categorical" and dim == 1 else logits
    draw = own.sample(last, torch.Generator().manual_seed(0), mask)
    ordered = weight.movedim(1, -1) if latent == "categorical" and dim == 1 else weight
    plain = torch.stack([costs(points, ordered) for points in draw.points])
    expected = own.surrogate(draw, plain)
    torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-12, atol=1e-14)
    objective = expected.mean() + sum(learner.loss(draw, plain) for learner in own.learners)
    wanted = gradients(objective, logits, weight, *[p for learner in own.learners for p in learner.parameters()])
    for one, other in zip(got, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    for learner in own.learners:
        learner.update(draw, plain)
    for one, other in zip(state_of(layer.learners), state_of(own.learners), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("fold", ["samples_first", "batch_first", None])
def test_the_order_of_the_points(fold):
    layer = dg.nn.DiscreteLatent("reinforce", fold=fold, num_samples=5)
    z = layer(torch.zeros(3, 2, 4))
    numbers = torch.arange(3)
    expected = {
        "samples_first": torch.cat([numbers] * 5),
        "batch_first": numbers.repeat_interleave(5),
        None: numbers.expand(5, 3),
    }[fold]
    assert torch.equal(z.repeat(numbers), expected)
    assert torch.equal(z.unfold(z.repeat(numbers)), numbers.expand(5, 3))
    assert torch.equal(z.fold(z.unfold(z.points)), z.points)
    assert torch.equal(z.unfold(z.points), z.draw.points)
    assert torch.equal(z.unfold(z.indices), z.draw.indices)


def test_images_have_their_categories_in_dimension_1():
    layer = dg.nn.DiscreteLatent("disarm_tree", dim=1)
    logits = torch.randn(3, 4, 5, 6, requires_grad=True)
    z = layer(logits)
    assert z.points.shape == (6, 4, 5, 6)
    assert torch.equal(z.points.argmax(1), z.indices)
    z.surrogate(z.points[:, 0].sum((-1, -2))).sum().backward()
    assert logits.grad.abs().sum() > 0
    local = layer(logits)
    assert local.surrogate(local.points[:, 0] * 2.0).shape == (3, 5, 6)  # a cost for every pixel


def test_a_latent_that_all_examples_share():
    layer = dg.nn.DiscreteLatent("rloo", batch_dims=0, num_samples=4)
    logits = torch.zeros(3, 5, requires_grad=True)
    z = layer(logits)
    assert z.points.shape == (4, 3, 5)
    loss = z.surrogate(torch.stack([points[:, 0].sum() for points in z.points]))
    assert loss.shape == z.kl().shape == ()
    loss.backward()
    assert logits.grad.abs().sum() > 0


# What must not be silent


@pytest.mark.parametrize(("name", "latent"), NEED_VALUES)
def test_points_without_a_surrogate_are_an_error(name, latent):
    """In the first backward pass through them; once a surrogate was taken at the next draw, when they are gone."""
    layer = dg.nn.DiscreteLatent(make(name, latent, CATEGORIES))
    logits, weight = problem(latent)
    z = layer(logits)
    loss = costs(z.points, z.repeat(weight)).mean()
    with pytest.raises(RuntimeError, match=r"through points of \w+ without a surrogate, so the encoder is not trained"):
        loss.backward()
    z = layer(logits)
    z.surrogate(costs(z.points, z.repeat(weight))).mean().backward()
    assert logits.grad.abs().sum() > 0
    z = layer(logits)
    costs(z.points, z.repeat(weight)).mean().backward()
    del z
    with pytest.raises(RuntimeError, match="were used in an earlier forward pass, and dropped without a surrogate"):
        layer(logits)
    layer(logits)


@pytest.mark.parametrize(("name", "latent"), PATHS)
def test_points_of_a_path_carry_their_gradient_themselves(name, latent):
    layer = dg.nn.DiscreteLatent(make(name, latent, CATEGORIES))
    logits, weight = problem(latent)
    z = layer(logits)
    costs(z.points, z.repeat(weight)).mean().backward()
    assert logits.grad.abs().sum() > 0
    del z
    layer(logits)


def test_a_backward_pass_through_the_mode_is_an_error():
    layer = dg.nn.DiscreteLatent("reinmax").eval()
    weight = torch.ones(3, 2, 4, requires_grad=True)
    logits = torch.zeros(3, 2, 4, requires_grad=True)
    with pytest.raises(RuntimeError, match="goes through the mode, which has no gradient"):
        layer(logits).surrogate(costs(layer(logits).points, weight)).sum().backward()
    layer(logits.detach()).surrogate(costs(layer(logits.detach()).points, weight)).sum().backward()
    assert weight.grad.abs().sum() > 0


def test_it_goes_through_vmap_and_grad():
    layer = dg.nn.DiscreteLatent("rloo")
    logits, weight = torch.randn(3, 2, 4), torch.randn(3, 2, 4)

    def loss(logits):
        z = layer(logits)
        return z.surrogate(costs(z.points, z.repeat(weight))).sum()

    found = torch.func.vmap(lambda _: torch.func.grad(loss)(logits), randomness="different")(torch.arange(5))
    assert found.shape == (5, 3, 2, 4)
    assert found.abs().sum((1, 2, 3)).min() > 0


def test_passes_that_train_nothing_owe_nothing():
    layer = dg.nn.DiscreteLatent("rloo")
    logits = torch.zeros(3, 2, 4, requires_grad=True)
    with torch.no_grad():
        layer(logits).points.sum()
    layer(logits.detach()).points.sum()
    layer(logits).kl().sum().backward()  # which needs no points
    layer.eval()(logits).points.sum()
    layer.train()(logits)


def test_any_number_of_draws_may_wait_for_their_surrogates():
    """A recurrent model draws in every step, and knows the values at the end."""
    layer = dg.nn.DiscreteLatent("reinforce")
    for _ in range(3):
        logits = torch.zeros(6, 3, 2, 4, requires_grad=True)
        samples = [layer(one) for one in logits]
        value = sum(z.points[..., 0].sum(-1) for z in samples)
        for z in samples:
            value = z.surrogate(value)
        value.sum().backward()
        assert (logits.grad.abs().sum((1, 2, 3)) > 0).all()


# Modes


@pytest.mark.parametrize(("name", "latent"), every())
def test_evaluation_takes_the_mode_or_samples_on_request(name, latent):
    layer = dg.nn.DiscreteLatent(make(name, latent, CATEGORIES)).eval()
    logits, weight = problem(latent)
    z = layer(logits)
    if latent == "bernoulli":
        expected = (logits > 0).double()
    else:
        expected = torch.nn.functional.one_hot(logits.argmax(-1), CATEGORIES).double()
    assert torch.equal(z.points, expected)
    values = costs(z.points, weight)
    assert torch.equal(z.surrogate(values), values)
    for _ in range(2):  # some learners take their shapes from the first logits
        before = state_of(layer.learners)
        z = layer(logits, sample=True)
        assert layer.estimator.evaluations in (None, z.draw.evaluations)
        z.surrogate(costs(z.points, z.repeat(weight))).mean().backward()
    assert logits.grad.abs().sum() > 0
    assert all(torch.equal(one, other) for one, other in zip(before, state_of(layer.learners), strict=True))


def test_a_masked_mode_counts_nothing():
    layer = dg.nn.DiscreteLatent("rloo").eval()
    logits = torch.tensor([[[torch.nan, torch.nan]], [[0.0, 1.0]]])
    z = layer(logits, mask=torch.tensor([[False], [True]]))
    assert torch.equal(z.points, torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]]))
    assert torch.equal(z.surrogate(torch.tensor([torch.nan, 3.0])), torch.tensor([0.0, 3.0]))
    assert torch.equal(z.entropy() > 0, torch.tensor([False, True]))


# What is known of the latents


def test_entropy_and_divergence_are_sums_over_the_event():
    logits = torch.randn(5, 4, 2, 3, dtype=torch.float64)  # categories in dimension 1
    prior = torch.randn(4, 2, 3, dtype=torch.float64)
    z = dg.nn.DiscreteLatent("rloo", dim=1)(logits)
    q, p = logits.log_softmax(1), prior.log_softmax(0)
    torch.testing.assert_close(z.entropy(), -(q.exp() * q).sum((1, 2, 3)))
    torch.testing.assert_close(z.kl(prior), (q.exp() * (q - p)).sum((1, 2, 3)))
    torch.testing.assert_close(z.kl(), (q.exp() * (q + torch.tensor(4.0).log())).sum((1, 2, 3)))
    torch.testing.assert_close(z.kl(prior, free_nats=3.0), z.kl(prior).clamp_min(3.0))
    of_points = (z.points * z.repeat(q)).sum((1, 2, 3))
    torch.testing.assert_close(z.log_prob(), of_points)


def test_free_nats_have_no_gradient():
    logits = torch.tensor([[[0.0, 0.1]], [[0.0, 9.0]]], requires_grad=True)
    dg.nn.DiscreteLatent("reinmax")(logits).kl(free_nats=0.5).sum().backward()
    assert torch.equal(logits.grad.abs().sum((1, 2)) > 0, torch.tensor([False, True]))


def test_codes_and_their_perplexity():
    """Three of four codes are taken in the first variable, one in the second; padding is not counted."""
    ids = torch.tensor([[0, 2], [0, 2], [1, 2], [3, 0]])
    logits = 50.0 * torch.nn.functional.one_hot(ids, 4)
    mask = torch.tensor([[True, True], [True, True], [True, True], [True, False]])
    z = dg.nn.DiscreteLatent("rloo")(logits, mask=mask)
    assert z.codes_used().tolist() == [3, 1]
    assert z.codes_used(shared=True).item() == 4
    half, quarter = 0.5, 0.25
    expected = torch.tensor([half**-half * quarter ** (-2 * quarter), 1.0])
    torch.testing.assert_close(z.perplexity(), expected)
    shares = torch.tensor([2, 1, 3, 1]) / 7
    torch.testing.assert_close(z.perplexity(shared=True), (-(shares * shares.log()).sum()).exp())
    leaf = torch.tensor([[[0.0, 1.0, -torch.inf]], [[0.3, 0.0, -torch.inf]]], requires_grad=True)
    dg.nn.DiscreteLatent("rloo")(leaf).perplexity().sum().backward()  # the first is too rare: more of it is more
    assert torch.equal(leaf.grad.sign(), torch.tensor([[[1.0, -1.0, 0.0]]] * 2))
    bits = dg.nn.DiscreteLatent("disarm")(torch.tensor([[50.0, 0.0], [-50.0, 0.0]]))
    torch.testing.assert_close(bits.perplexity(), torch.tensor([2.0, 2.0]))
    assert bits.codes_used().tolist() == [2, 1]


def test_a_bound_is_made_of_log_weights():
    """VIMCO's values contain log q of the points, with its gradient."""
    layer = dg.nn.DiscreteLatent("vimco", num_samples=3)
    logits, weight = problem("categorical")
    z = layer(logits, generator=torch.Generator().manual_seed(0))
    loss = z.surrogate(costs(z.points, z.repeat(weight)) - z.log_prob())
    draw = dg.VIMCO(3).sample(logits, torch.Generator().manual_seed(0))
    values = torch.stack([costs(points, weight) for points in draw.points])
    expected = dg.VIMCO(3).surrogate(draw, values - dg.objectives.log_prob(draw.indices, logits))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(loss.sum(), logits), gradients(expected.sum(), logits))


# Learners


@pytest.mark.parametrize(("name", "latent"), LEARNING)
def test_learners_are_part_of_the_module(name, latent):
    """They are in parameters, state_dict and copies, whose estimator refers to the copied ones."""
    layer = torch.nn.ModuleDict({"latent": dg.nn.DiscreteLatent(make(name, latent, CATEGORIES))})
    logits, weight = problem(latent)

    def step(module):
        z = module["latent"](logits, generator=torch.Generator().manual_seed(1))
        loss = z.surrogate(costs(z.points, z.repeat(weight))).mean()
        module.zero_grad()
        loss.backward()
        return loss

    step(layer)  # some take their shapes from the first logits
    held = list(layer["latent"].estimator.learners)
    assert held
    parameters = {id(one) for one in layer.parameters()}
    assert all(id(one) in parameters for learner in held for one in learner.parameters())
    state = copy.deepcopy(layer.state_dict())
    assert len(state) == len(state_of(held)) > 0
    others = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
    for module in (layer, *others):
        optimizer = torch.optim.Adam(module.parameters(), 0.1) if parameters else None
        step(module)
        if optimizer is not None:
            optimizer.step()
    for other in others:
        mine = other["latent"].estimator.learners
        assert all(one is registered for one, registered in zip(mine, other["latent"].learners, strict=True))
        assert not any(one is original for one, original in zip(mine, held, strict=True))
        for one, original in zip(state_of(mine), state_of(held), strict=True):
            torch.testing.assert_close(one, original)
    changed = [not torch.equal(tensor, state[key]) for key, tensor in layer.state_dict().items()]
    assert any(changed)
    layer.load_state_dict(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in layer.state_dict().items())
    layer.to("meta")
    assert all(tensor.device.type == "meta" for learner in held for tensor in learner.state_dict().values())


def test_a_plain_attribute_hides_learners_and_a_module_that_holds_them_does_not():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.estimator = dg.NVIL(torch.nn.Linear(8, 1))
            self.learners = dg.nn.Learners(self.estimator)

    model = Model()
    assert {name.split(".")[0] for name in model.state_dict()} == {"learners"}
    assert set(model.parameters()) == set(model.estimator.learners[0].parameters())
    copied = copy.deepcopy(model)
    assert copied.estimator.learners[0] is copied.learners.learners[0] is not model.estimator.learners[0]
    model.learners.estimator = dg.RLOO()
    assert not model.state_dict()


def test_a_learned_temperature_is_a_parameter_of_the_layer():
    layer = dg.nn.DiscreteLatent("gumbel_softmax", temperature=torch.nn.Parameter(torch.tensor(0.7)))
    assert [name for name, _ in layer.named_parameters()] == ["temperature"] == list(layer.state_dict())
    for module in (layer, copy.deepcopy(layer)):
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        module(torch.randn(3, 2, 4)).points.square().sum().backward()
        optimizer.step()
        assert module.estimator.path.temperature is module.temperature
        assert module.temperature.item() != pytest.approx(0.7)
    layer.estimator = dg.GumbelSoftmax(0.5)
    assert not layer.state_dict()


def test_an_estimator_may_be_exchanged():
    layer = dg.nn.DiscreteLatent("reinforce", baseline=dg.nn.RunningMean())
    assert len(layer.state_dict()) == 2
    layer.estimator = dg.ReinMax()
    assert not layer.state_dict()
    assert layer(torch.zeros(3, 2, 4, requires_grad=True)).points.requires_grad


# Inside other people's machinery


def test_autocast_of_a_whole_model():
    encoder, decoder = torch.nn.Linear(7, 12), torch.nn.Linear(12, 1)
    for estimator in ("rloo", "disarm_tree", "reinmax", "gumbel_softmax", "muprop"):
        layer = dg.nn.DiscreteLatent(estimator)
        with torch.autocast("cpu", torch.bfloat16):
            z = layer(encoder(torch.randn(5, 7)).unflatten(-1, (3, 4)))
            assert z.points.dtype == torch.bfloat16
            loss = z.surrogate(decoder(z.points.flatten(1)).squeeze(-1)).mean() + z.kl().mean()
        encoder.zero_grad()
        loss.backward()
        assert encoder.weight.grad.isfinite().all()
        assert encoder.weight.grad.abs().sum() > 0


COMPILED = [(n,) for n in ("reinforce-running", "gumbel-hard", "rloo-3", "tree-2-pairs", "nvil", "reinmax-cold")]


@pytest.mark.parametrize(("name",), slow_where(COMPILED[2:], COMPILED))
def test_compiles_without_graph_breaks(name, monkeypatch):
    monkeypatch.setattr("discretegrad.ops.noise.library", lambda dtype: None)  # torch's noise, as where it compiles
    layer = dg.nn.DiscreteLatent(make(name, "categorical", 4), dim=1)
    weight = torch.randn(3, 4, 2)

    def step(logits):
        z = layer(logits)
        return z.surrogate(costs(z.points, z.repeat(weight))).sum() + z.kl(free_nats=0.1).sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    logits = torch.randn(3, 4, 2)
    state = copy.deepcopy(layer.state_dict())
    results = []
    for function in (step, compiled):
        layer.load_state_dict(state)
        torch.manual_seed(1)
        leaf = logits.clone().requires_grad_()
        loss = function(leaf)
        results.append((loss.detach(), *gradients(loss, leaf), *state_of(layer.learners)))
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


# Refusals


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: dg.nn.DiscreteLatent("relu"), "no estimator is called 'relu'"),
        (lambda: dg.nn.DiscreteLatent(torch.nn.ReLU()), "estimator is a name or an estimator"),
        (
            lambda: dg.nn.DiscreteLatent(dg.RLOO(), num_samples=4),
            "num_samples belong to an estimator given by its name",
        ),
        (lambda: dg.nn.DiscreteLatent("rloo", batch_dims=-1), "batch_dims is a number of dimensions"),
        (lambda: dg.nn.DiscreteLatent("rloo", fold="outer"), "fold is 'samples_first', 'batch_first' or None"),
        (lambda: dg.nn.DiscreteLatent("rloo", dim=3)(torch.zeros(2, 3, 4)), "categories are in dim=3"),
        (lambda: dg.nn.DiscreteLatent("rloo")(torch.zeros(4)), "batch_dims=0 or less"),
        (lambda: dg.nn.DiscreteLatent("rloo")(torch.zeros(2, 4).long()), "must be a floating-point tensor"),
        (lambda: dg.nn.DiscreteLatent("rloo")([0.0, 1.0]), "must be a floating-point tensor"),
        (lambda: dg.nn.DiscreteLatent("rloo").eval()(torch.full((2, 4), torch.nan)), "logits hold NaN"),
        (lambda: dg.nn.DiscreteLatent("rloo")(torch.zeros(2, 4)).surrogate(torch.zeros(2)), "2 points of 2 examples"),
        (lambda: dg.nn.DiscreteLatent("rloo")(torch.zeros(2, 4)).surrogate(1.0), "values must be a floating-point"),
        (lambda: dg.nn.DiscreteLatent("rloo").eval()(torch.zeros(2, 4)).surrogate(torch.ones(2).long()), "floating"),
        (lambda: dg.nn.DiscreteLatent("rloo")(torch.zeros(2, 4)).repeat(torch.zeros(3)), "each of 2 examples first"),
        (lambda: dg.nn.DiscreteLatent("rloo")(torch.zeros(2, 4)).kl(torch.zeros(3)), "prior must be logits"),
        (lambda: dg.nn.Learners("rloo"), "learners are those of an estimator"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call()
