"""Several layers of latents: all ways exact in the mean, by enumeration, in every parameter of the task's own model."""

from functools import partial

import pytest
import torch
from outcomes import all_points, assert_exact, log_prob, mean_bound, mean_of_all, randomise
from test_every_system import configure

import discretegrad as dg
from experiments.data.images import Images
from experiments.errors import UserError
from experiments.parts.paths import behind_first
from experiments.systems.hierarchical_vae import HierarchicalVAE, HierarchicalVAETask
from experiments.systems.vae import VAE, VAETask
from experiments.train import build, train

IMAGE = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
IMAGES = Images("three pixels", torch.tensor([[0.6, 0.2, 0.7]]), torch.zeros(1, 3), (1, 3))
WAYS = ("nested", "chain", "layerwise")


def task_of(estimator, way, layers=2, variables=2, categories=2, bound=None, hidden=()):
    model = partial(HierarchicalVAE, layers=layers, variables=variables, categories=categories, hidden=hidden)
    task = HierarchicalVAETask(
        IMAGES, partial(model, latent=estimator.latent), estimator, way, binarised=False, bound=bound
    )
    randomise(task.model)
    return task


def laws(model):
    """`log q(z | x)` and `log p(x, z) - log q(z | x)` at all values of all layers, `[N]`."""
    categories = 2 if model.latent == "bernoulli" else model.prior_logits.shape[1]
    points = all_points(model.latent, model.prior_logits.shape[0], categories)
    every = torch.cartesian_prod(*[torch.arange(len(points))] * model.layers).reshape(-1, model.layers)
    layers = [points[every[:, layer]] for layer in range(model.layers)]
    log_p, log_q = log_prob(model.latent, layers[-1], model.prior_logits), 0.0
    seen = (IMAGE - model.mean).expand(len(every), -1)
    for layer, own in enumerate(layers):
        log_q = log_q + log_prob(model.latent, own, model.encoders[layer](seen).reshape(own.shape))
        seen = 2 * own.flatten(1) - 1
        below = model.decoders[layer](seen)
        log_p = log_p + (
            log_prob(model.latent, layers[layer - 1], below.reshape(own.shape))
            if layer
            else log_prob("bernoulli", IMAGE.expand(len(every), -1), below)
        )
    return log_q, log_p - log_q


def assert_unbiased(monkeypatch, task, points=None):
    """In the gradient of the ELBO, of `task.bound`, or of the bound of so many points."""
    parameters = tuple(task.model.parameters())
    expected = mean_bound(*laws(task.model), points or task.bound or 1)
    mean, got = mean_of_all(monkeypatch, partial(task.layers, task.model), IMAGE, parameters)
    torch.testing.assert_close(mean, expected.detach(), rtol=1e-12, atol=0)
    assert_exact(got, torch.autograd.grad(expected, parameters))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("estimator", "sizes"),
    [
        (dg.RLOO(latent="bernoulli"), {}),
        (dg.DisARM(), {}),
        (dg.DisARM(), {"hidden": (2,)}),
        (dg.ARMS(2), {"variables": 1}),
        (dg.RLOO(), {"variables": 1, "categories": 3}),
        (dg.DisARMTree(), {"variables": 1, "categories": 3}),
        (dg.DisARMSB(), {"variables": 1, "categories": 3}),
        (dg.DisARMTree(), {}),
        (dg.DisARM(), {"layers": 3, "variables": 1}),
        (dg.DisARMTree(), {"layers": 3, "variables": 1}),
        (dg.RLOO(latent="bernoulli"), {"bound": 2, "variables": 1}),
        (dg.DisARM(), {"bound": 2, "variables": 1}),
        (dg.DisARM(), {"layers": 1, "bound": 2}),
    ],
    ids=str,
)
def test_every_way_is_unbiased_in_every_parameter(way, estimator, sizes, monkeypatch):
    assert_unbiased(monkeypatch, task_of(estimator, way, **sizes))


@pytest.mark.parametrize("way", ["nested", "chain"])
@pytest.mark.parametrize("bound", [None, 2])
@pytest.mark.parametrize(
    "estimator",
    [dg.MuProp(latent="bernoulli"), dg.DoubleCV(latent="bernoulli"), dg.RODEO(latent="bernoulli")],
    ids=str,
)
def test_estimators_that_need_the_gradient_of_f_get_that_of_the_layers_above(estimator, bound, way, monkeypatch):
    """An estimate of it, noise and all, does."""
    assert_unbiased(monkeypatch, task_of(estimator, way, variables=1, bound=bound))


BOUNDS = [
    (dg.VIMCO(2, latent="bernoulli"), 2, {}),
    (dg.VIMCO(2, latent="bernoulli"), 2, {"layers": 3, "variables": 1}),
    (dg.VIMCO(3, "arithmetic", "bernoulli"), 3, {"variables": 1, "hidden": (2,)}),
    (dg.VIMCO(2, None, "categorical"), 2, {"variables": 1, "categories": 3}),
    (dg.DisARMBound(1, latent="bernoulli"), 1, {"layers": 3, "variables": 1}),
    (dg.DisARMBound(2, latent="bernoulli"), 2, {"variables": 1}),
    (dg.DisARMBound(2, latent="categorical"), 2, {"variables": 1}),
]
"""Estimators, the points of their bound, and sizes."""


@pytest.mark.parametrize(("estimator", "points", "sizes"), BOUNDS, ids=str)
def test_a_chain_has_the_gradient_of_the_estimator_s_own_bound(estimator, points, sizes, monkeypatch):
    assert_unbiased(monkeypatch, task_of(estimator, "chain", **sizes), points)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("estimator", [dg.VIMCO(2, latent="bernoulli"), dg.DisARMBound(2, latent="bernoulli")], ids=str)
def test_one_layer_has_it_by_every_way(estimator, way, monkeypatch):
    assert_unbiased(monkeypatch, task_of(estimator, way, layers=1), 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda estimator, values, score: torch.zeros_like(values[0]),
        lambda estimator, values, score: behind_first(dg.VIMCO(4, latent="bernoulli"), values, score),
        lambda estimator, values, score: behind_first(estimator, values.flip(0), score),
    ],
    ids=["no signals", "signals of one bound of all", "signals of other paths"],
)
def test_other_signals_of_the_layers_behind_are_biased(wrong, monkeypatch):
    monkeypatch.setattr("experiments.systems.hierarchical_vae.ways.behind_first", wrong)
    with pytest.raises(AssertionError):
        assert_unbiased(monkeypatch, task_of(dg.DisARMBound(2, latent="bernoulli"), "chain", variables=1), 2)


class SeesItself(dg.BatchLeaveOneOut):
    """A baseline that has seen the trajectory it is subtracted from."""

    def subtract_from(self, evaluation):
        return dg.control_variate.Residual(evaluation.values - evaluation.values.mean(self.dim, keepdim=True))


def test_a_baseline_that_has_seen_its_own_trajectory_is_biased(monkeypatch):
    task = task_of(dg.DisARM(), "chain", variables=1)
    task.layers.each[1].estimator = dg.Reinforce(baseline=SeesItself(-2), latent="bernoulli")
    with pytest.raises(AssertionError):
        assert_unbiased(monkeypatch, task)


@pytest.mark.parametrize("way", WAYS)
def test_log_q_without_its_own_gradient_is_biased_in_a_bound(way, monkeypatch):
    task = task_of(dg.DisARM(), way, variables=1, bound=2)
    terms = task.model.terms
    monkeypatch.setattr(task.model, "terms", lambda *of, of_bound=False: terms(*of))
    with pytest.raises(AssertionError):
        assert_unbiased(monkeypatch, task)


def test_nested_vimco_is_refused_because_an_estimate_in_its_bound_is_biased(monkeypatch):
    monkeypatch.setattr("experiments.systems.hierarchical_vae.ways.refuse", lambda *parts: None)
    task = task_of(dg.VIMCO(2, latent="bernoulli"), "nested", variables=1)
    parameters = tuple(task.model.encoders.parameters())
    expected = torch.autograd.grad(mean_bound(*laws(task.model), 2), parameters)
    _, got = mean_of_all(monkeypatch, partial(task.layers, task.model), IMAGE, parameters)
    assert all((one - other).norm() > 0.05 * other.norm() for one, other in zip(got[2:], expected[2:], strict=True))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_evaluation_is_the_bound_of_independent_trajectories(layers, monkeypatch):
    task = task_of(dg.DisARM(), "chain", layers, variables=1)
    task.bound_samples = 2

    def bound(images, outcomes):
        return dg.objectives.multi_sample_bound(task.log_weights(images, outcomes))

    mean, _ = mean_of_all(monkeypatch, bound, IMAGE, (task.model.prior_logits,))
    torch.testing.assert_close(mean, mean_bound(*laws(task.model), 2).detach(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("bound", [None, 3])
@pytest.mark.parametrize("way", WAYS)
def test_one_layer_is_the_vae(way, bound):
    """The loss and the gradients of a step, by points that are the same."""
    estimator, found = dg.DisARMTree(), []
    sizes = {"variables": 4, "categories": 3, "latent": "categorical", "hidden": (5,)}
    for kind in ("vae", "hierarchy"):
        torch.manual_seed(0)
        if kind == "vae":
            task = VAETask(IMAGES, partial(VAE, **sizes), estimator, bound=bound)
        else:
            task = HierarchicalVAETask(IMAGES, partial(HierarchicalVAE, layers=1, **sizes), estimator, way, bound=bound)
        loss = task(torch.rand(7, 3), torch.Generator().manual_seed(1)).loss
        found.append((loss, *torch.autograd.grad(loss, tuple(task.model.parameters()))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_every_layer_learns_with_learners_of_its_own(tmp_path):
    run = train(configure("hierarchical_vae", tmp_path, "estimator=nvil", "task.way=nested", "model.layers=3"))
    learners = [layer.learners[0] for layer in run.task.layers.each]
    moved = [float(learner.running.mean) for learner in learners]
    assert len({id(learner) for learner in learners}) == len(set(moved)) == 3
    assert 0.0 not in moved
    own = {id(parameter) for learner in learners for parameter in learner.parameters()}
    assert own == {id(parameter) for parameter in run.task.groups()["learner_optimizer"]}


@pytest.mark.parametrize(
    "choices",
    [
        ("estimator=rloo", "task.way=nested", "model.hidden=[8]"),
        ("estimator=muprop", "estimator.num_samples=2", "task.way=chain", "task.bound=2"),
        ("estimator=rebar", "estimator.learn=false", "task.way=chain"),
        ("estimator=unordered_set", "task.way=layerwise"),
        ("estimator=gumbel_softmax", "task.way=nested"),
        ("estimator=vimco", "task.way=chain"),
        ("estimator=disarm_bound", "task.way=chain"),
        ("estimator=disarm_tree", "model.latent=categorical", "model.categories=3", "task.way=layerwise"),
        ("estimator=flow_linear", "model.latent=categorical", "model.categories=3", "task.way=nested"),
    ],
    ids=str,
)
def test_estimators_train_all_layers(choices, tmp_path):
    run = train(configure("hierarchical_vae", tmp_path / "run", "model.layers=2", "run.steps=2", *choices))
    variances = [run.result[f"encoder_gradient_variance_{layer}"] for layer in (1, 2)]
    assert min(variances) > 0
    assert run.result["encoder_gradient_variance_3"] is None


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (("model.layers=5",), r"model\.layers is 1 to 4, not 5"),
        (("model.layers=0",), r"model\.layers must be an integer of at least 1"),
        (("model.hidden=200",), r"model\.hidden must be a list of widths"),
        (("model.latent=gaussian",), r"model\.latent is categorical or bernoulli"),
        (("model.latent=categorical",), r"DisARM is for bernoulli.*use model\.latent=bernoulli"),
        (("task.way=tree",), r"task\.way is nested, chain or layerwise"),
        (("task.bound=0",), r"task\.bound must be an integer"),
        (("estimator=vimco", "task.way=nested"), r"VIMCO differentiates a bound of its own.*use task\.way=chain"),
        (("estimator=disarm_bound", "task.way=layerwise"), r"DisARMBound differentiates a bound of its own"),
        (("estimator=vimco", "task.bound=2"), r"VIMCO differentiates a multi-sample bound.*leave task\.bound"),
        (("estimator=straight_through", "task.way=chain"), r"StraightThrough has only one.*task\.way=nested"),
        (("estimator=muprop", "task.way=layerwise"), r"MuProp needs the gradient of f.*task\.way=nested or chain"),
        (("estimator=rebar", "task.way=nested"), r"REBAR learns by.*estimator\.learn=false"),
        (("run.monitor_share=0.1",), r"nothing that a monitor measures; leave run\.monitor_share out"),
    ],
)
def test_what_does_not_fit_is_refused(choices, words, tmp_path):
    with pytest.raises(UserError, match=words):
        build(configure("hierarchical_vae", tmp_path, *choices))
