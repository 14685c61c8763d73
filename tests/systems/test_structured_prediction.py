"""The predictor of lower halves: its gradient by enumeration in float64, its judgement by brute force."""

import itertools
import math
from functools import partial

import pytest
import torch
from outcomes import all_points, assert_exact, log_prob, mean_bound, mean_of_all, randomise
from test_conf import options
from test_every_system import configure

import discretegrad as dg
from experiments.data import Images
from experiments.engine import World
from experiments.errors import UserError
from experiments.systems.structured_prediction import StochasticNetwork, StructuredPredictionTask
from experiments.train import build, train

SYSTEM = "structured_prediction"
IMAGES = Images("five pixels", torch.tensor([[0.3, 0.6, 0.8, 0.2, 0.7]]), torch.zeros(1, 5), (5, 1))
IMAGE = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0], dtype=torch.float64)


def task_of(estimator, layers, variables=1, images=IMAGES):
    """Of images as they are, with 3 categories."""
    model = partial(
        StochasticNetwork, layers=layers, variables=variables, categories=3, latent=estimator.latent, hidden=(2,)
    )
    task = StructuredPredictionTask(images, model, estimator, binarised=False)
    randomise(task.model)
    return task


def laws(task):
    """`log p(z | x)` and `log p(y | z)` of every path through all layers."""
    model, (given, wanted) = task.model, task.halves(IMAGE)
    found = []
    points = all_points(model.latent, model.event[0], 2 if model.latent == "bernoulli" else 3)
    for path in itertools.product(points, repeat=model.layers):
        layers = zip(path, (given, *path[:-1]), strict=True)
        log_p = sum(log_prob(model.latent, z, model.logits(i, before)) for i, (z, before) in enumerate(layers))
        found.append((log_p, log_prob("bernoulli", wanted, model.pixel_logits(path[-1]))))
    return [torch.stack(column) for column in zip(*found, strict=True)]


def mean_of_steps(task, monkeypatch):
    return mean_of_all(monkeypatch, task.estimate, IMAGE, tuple(task.model.parameters()))


@pytest.mark.parametrize(
    ("estimator", "points", "layers", "variables"),
    [
        (dg.Reinforce(latent="bernoulli"), 1, 1, 2),
        (dg.RLOO(2, "bernoulli"), 1, 2, 1),
        (dg.RLOO(2, "categorical"), 1, 1, 2),
        (dg.DisARM(), 1, 2, 1),
        (dg.DisARM(2), 1, 1, 2),
        (dg.DisARMTree(), 1, 2, 1),
        (dg.MuProp(latent="bernoulli"), 1, 2, 1),
        (dg.VIMCO(2, latent="bernoulli"), 2, 1, 2),
        (dg.VIMCO(2, latent="bernoulli"), 2, 2, 2),
        (dg.VIMCO(3, "arithmetic", "bernoulli"), 3, 2, 1),
        (dg.VIMCO(1, None, "bernoulli"), 1, 3, 1),
        (dg.VIMCO(2, latent="categorical"), 2, 2, 1),
        (dg.DisARMBound(1, latent="bernoulli"), 1, 2, 1),
        (dg.DisARMBound(2, latent="bernoulli"), 2, 2, 1),
        (dg.DisARMBound(2, latent="categorical"), 2, 1, 1),
    ],
    ids=str,
)
def test_the_gradient_is_the_objective_s_in_every_parameter(estimator, points, layers, variables, monkeypatch):
    task = task_of(estimator, layers, variables)
    expected = mean_bound(*laws(task), points)
    value, gradients = mean_of_steps(task, monkeypatch)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-12, atol=0)
    assert_exact(gradients, torch.autograd.grad(expected, tuple(task.model.parameters())))


def test_without_the_signals_of_deeper_layers_the_gradient_is_another(monkeypatch):
    """Negative control."""
    task = task_of(dg.VIMCO(2, latent="bernoulli"), 2)
    module = "experiments.systems.structured_prediction.task.behind_first"
    monkeypatch.setattr(module, lambda estimator, values, score: 0 * score.sum(0))
    expected = torch.autograd.grad(mean_bound(*laws(task), 2), tuple(task.model.parameters()))
    with pytest.raises(AssertionError):
        assert_exact(mean_of_steps(task, monkeypatch)[1], expected)


def test_test_images_are_judged_by_the_bound():
    """The mean of 4,000 bounds of 2 paths is the sum over all pairs of paths, within 5 standard errors."""
    task = task_of(dg.VIMCO(2, latent="bernoulli"), 2, 2)
    log_p, log_w = (column.detach() for column in laws(task))
    expected = mean_bound(log_p, log_w, 2)
    pairs = torch.logaddexp(log_w, log_w[:, None]) - math.log(2)
    variance = ((log_p + log_p[:, None]).exp() * (pairs - expected).square()).sum()
    task.world, task.bound_samples = World(), 2
    task.images = IMAGES._replace(test=IMAGE.expand(4000, -1))
    assert abs(task.evaluate(None)["test_bound"] - expected) < 5 * (variance / 4000).sqrt()


def test_halves_are_the_upper_and_the_lower_rows():
    task = task_of(dg.RLOO(2, "bernoulli"), 1)
    given, wanted = task.halves(torch.arange(5.0))
    assert given.tolist() == [0, 1] and wanted.tolist() == [2, 3, 4]


OF_BERNOULLI = ("arm", "arms", "disarm")
OF_CATEGORIES = ("ars", "ars_plus", "arsm", "arsm_plus", "carms", "disarm_iw", "disarm_sb", "disarm_tree")
OF_CATEGORIES += ("flow_linear", "reinforce_quadratic", "rloo_linear")


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("estimator", options("estimator"))
def test_every_estimator_trains(estimator, layers, tmp_path):
    latent = "categorical" if estimator in OF_CATEGORIES else "bernoulli"
    sizes = [f"model.latent={latent}", "model.variables=3", "model.categories=4", f"model.layers={layers}"]
    if layers == 2 and estimator in ("rebar", "relax"):
        with pytest.raises(UserError, match="learns by second derivatives"):
            build(configure(SYSTEM, tmp_path / "run", f"estimator={estimator}", *sizes))
        estimator, sizes = "rebar", [*sizes, "estimator.learn=false"]
    run = train(configure(SYSTEM, tmp_path / "run", f"estimator={estimator}", *sizes, "run.steps=2"))
    assert run.step == 2 and run.result["test_bound"] < 0


def test_each_layer_has_learners_of_its_own(tmp_path):
    run = build(configure(SYSTEM, tmp_path / "run", "estimator=nvil"))
    run.train_step()
    widths = [next(learners.parameters()).shape[1] for learners in run.task.learners]
    assert widths == [32, 3]
    assert len({id(parameter) for parameter in run.task.groups()["learner_optimizer"]}) == 8


def test_a_monitor_sees_what_the_estimator_of_one_layer_saw(tmp_path):
    run = build(configure(SYSTEM, tmp_path / "run", "estimator=rloo", "model.layers=1", "run.monitor_share=0.5"))
    run.learning.forward(0)
    watch, [drawn] = run.task.watched(), run.task._drawn
    assert watch.logits is drawn.draw.logits
    assert torch.equal(watch.f(drawn.draw.points), drawn.values)
    assert train(configure(SYSTEM, tmp_path / "run", "estimator=rloo", "model.layers=1", "run.monitor_share=0.5"))


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["estimator=disarm_tree"], "use model.latent=categorical"),
        (["estimator=disarm", "model.latent=categorical"], "use model.latent=bernoulli"),
        (["model.latent=gaussian", "estimator=disarm"], "model.latent is categorical or bernoulli"),
        (["model.layers=0"], "model.layers must be an integer of at least 1"),
        (["model.hidden=200"], "model.hidden must be a list of widths"),
        (["model.hidden=[0]"], "each width in model.hidden"),
        (["task.bound_samples=0"], "task.bound_samples must be"),
        (["task.variance_every=0"], "task.variance_every must be"),
        (["run.monitor_share=0.1"], "a monitor measures the gradient of E f"),
        (["run.monitor_share=0.1", "estimator=rloo"], "use model.layers=1"),
    ],
)
def test_refusals_are_one_sentence_before_any_work(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match) as error:
        train(configure(SYSTEM, tmp_path / "run", *overrides))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    assert not (tmp_path / "run").exists()


def test_images_of_one_row_are_refused():
    with pytest.raises(UserError, match="no lower half"):
        task_of(dg.RLOO(2, "bernoulli"), 1, images=IMAGES._replace(shape=(1, 5)))
