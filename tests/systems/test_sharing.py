"""Learned sharing: a tie's loss is that of the network so tied, and the gates' gradient is that of its mean."""

import itertools
from functools import partial

import pytest
import torch
from catalogue import relative_bias
from hydra import compose, initialize_config_dir
from test_conf import CONF
from test_dual_encoder import SIZES, toy

import discretegrad as dg
from experiments.engine import Learning, Run, Settings, World
from experiments.errors import UserError
from experiments.systems.dual_encoder import DualEncoder, DualEncoderTask, SharingTask
from experiments.train import build

STILL = SIZES | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TIES = list(itertools.product((0.0, 1.0), repeat=4))


def settings(folder, **others):
    fixed = {"batch": 16, "seed": 0, "log_every": 2, "evaluate_every": 4, "evaluate_most": 12, "checkpoint_every": 100}
    fixed |= {"keep": (), "clip": None, "monitor_share": None, "progress": False, "dir": str(folder), "steps": 4}
    return Settings(**fixed | others)


def sharing(cache, estimator=None, **others):
    torch.manual_seed(0)
    model = partial(DualEncoder, STILL, 8, "ade")
    sizes = {"vocabulary": 300, "length": 8, "temperature": 0.1}
    return SharingTask(toy(cache), model, estimator or dg.DisARM(), **sizes | others)


@pytest.fixture
def task(tmp_path):
    """In float64, with copies that differ in every module."""
    found = sharing(tmp_path, price=0.03).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (*found.model.parameters(), *found.common.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        found.gates.copy_(torch.tensor([0.3, -1.0, 0.7, 0.1]))
    found.begin(settings(tmp_path), World())
    return found


def built(task, gates):
    """The dual encoder that `model.variant` makes of a tie, with the copies' values."""
    modules = task.model.modules_of_towers
    names = "+".join(module for module, on in zip(modules, gates, strict=True) if on)
    model = DualEncoder(STILL, 8, names or "ade", vocabulary=300, length=8).double()
    with torch.no_grad():
        for tower, own in (
            (model.query_tower, task.model.query_tower),
            (model.document_tower, task.model.document_tower),
        ):
            for parameters, on in zip(modules.values(), gates, strict=True):
                for name in parameters:
                    tower.get_parameter(name).copy_((task.common if on else own).get_parameter(name))
    return model


def test_every_tie_s_loss_is_that_of_the_network_so_tied(task):
    batch = task.batch(0)
    found = task.losses(batch.learned, torch.tensor(TIES))
    plain = DualEncoderTask(task.pairs, partial(DualEncoder, STILL, 8), 300, 8, 0.1)
    plain.begin(settings("unused"), World())
    for gates, loss in zip(TIES, found, strict=True):
        plain.model = built(task, gates).train()
        torch.testing.assert_close(plain(batch.learned, torch.Generator()).loss, loss, rtol=1e-12, atol=0)
    assert len({round(loss, 6) for loss in found.tolist()}) == len(TIES)


@pytest.mark.parametrize("estimator", [dg.DisARM(), dg.RLOO(2, latent="bernoulli"), dg.ARMS(2)])
def test_the_gates_gradient_is_that_of_the_mean_over_all_ties(task, estimator):
    """By enumeration of the estimator's joint law, with the objective of each tie as it is computed."""
    batch, ties = task.batch(0), torch.tensor(TIES, dtype=torch.float64)
    objective = (task.losses(batch.learned, ties) + task.price * (1 - ties).sum(1)).detach()
    place = torch.tensor([8, 4, 2, 1], dtype=torch.float64)

    def f(points):
        return objective[(points.detach().double() @ place).round().long()]

    logits = task.gates.detach()
    assert relative_bias(estimator, f, logits) < 1e-10
    task.estimator = dg.Exact(latent="bernoulli")
    found = torch.autograd.grad(task(batch, torch.Generator()).loss, task.gates)[0]
    leaf = logits.clone().requires_grad_()
    on = leaf.sigmoid()
    mean = ((ties * on + (1 - ties) * (1 - on)).prod(1) * objective).sum()
    torch.testing.assert_close(found, torch.autograd.grad(mean, leaf)[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("apart", [0.0, 0.4])
def test_copies_have_the_average_loss_of_the_ties_that_were_drawn(task, apart):
    task.apart = apart
    task.begin(settings("unused"), World())
    batch = task.batch(1)
    copies = [*task.model.parameters(), *task.common.parameters()]
    found = torch.autograd.grad(task(batch, torch.Generator()).loss, copies, allow_unused=True)
    drawn = []
    task.losses, losses = (lambda texts, points: drawn.append(points) or losses(texts, points)), task.losses
    task(batch, torch.Generator())
    expected = torch.autograd.grad(losses(batch.learned, drawn[0]).mean(), copies, allow_unused=True)
    assert any(gradient is None for gradient in expected) or len({*map(tuple, drawn[0].tolist())}) == 2
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)
    if apart:
        assert batch.judged is not None
        learned, judged = ({*texts.queries.text.tolist()} for texts in (batch.learned, batch.judged))
        assert not learned & judged


def test_all_processes_draw_the_same_ties(task):
    """Whatever their own noise is: documents of one are negatives of the others."""
    drawn = []
    task.losses, losses = (lambda texts, points: drawn.append(points) or losses(texts, points)), task.losses
    for step in (3, 3, 4, 5, 6, 7):
        task(task.batch(step), torch.Generator().manual_seed(len(drawn)))
    assert torch.equal(drawn[0], drawn[1])
    assert len({str(points.tolist()) for points in drawn}) > 2


def test_gates_follow_the_price(tmp_path):
    """A price above all that losses differ by ties everything; the ties are then those that are judged."""
    runs = {}
    for price in (0.0, 5.0):
        makers = {"optimizer": partial(torch.optim.AdamW, lr=1e-3), "gate_optimizer": partial(torch.optim.Adam, lr=0.3)}
        run = Run(
            Learning(settings(tmp_path / f"{price}", steps=40), sharing(tmp_path, price=price), makers, None, World()),
            {},
        )
        run.start(False, {})
        run.train()
        runs[price] = run
    expensive = runs[5.0]
    modules = tuple(expensive.task.model.modules_of_towers)
    assert expensive.task.tie() == "+".join(modules)
    assert all(expensive.result[f"share_{module}"] > 0.8 for module in modules)
    assert sum(runs[0.0].result[f"share_{module}"] for module in modules) < 3.5
    query, document = expensive.task.towers()
    tokens = expensive.task.held_out.queries
    expensive.task.eval()
    torch.testing.assert_close(query(tokens), document(tokens))
    torch.testing.assert_close(query(tokens), expensive.task.common(tokens))


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("estimator=gumbel_softmax", "estimator.latent=bernoulli"), "GumbelSoftmax is no estimator for gates"),
        (("model.variant=sde",), "give model.variant=ade"),
        (("task.price=-1",), "task.price must be a number in"),
        (("task.apart=0.95",), "run.batch=8 is more than the 3 training examples"),
        (("task.apart=0.05",), "run.batch=8 is more than the 3 training examples"),
    ],
)
def test_what_cannot_be_searched_is_refused(overrides, match, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["experiment=sharing", "+tiny=dual_encoder", "device=cpu", f"run.dir={tmp_path / 'run'}"]
        config = compose("train", [*fixed, f"data.cache={tmp_path}", *overrides])
    with pytest.raises(UserError, match=match):
        build(config)
    assert not (tmp_path / "run").exists()
