"""Binary codes: each document's own terms have the loss's gradient, by enumeration; codes and figures by hand."""

import itertools

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from test_conf import CONF
from test_retrieval import Rank, units

import discretegrad as dg
from experiments.errors import UserError
from experiments.export import export
from experiments.parts.contrastive import in_batch_softmax
from experiments.systems.dual_encoder.bits import code, own_terms, use_of_bits
from experiments.train import build, train

N, BITS, TEMPERATURE = 3, 2, 0.5
EQUAL = torch.zeros(N, N, dtype=torch.bool)
EQUAL[0, 2] = EQUAL[2, 0] = True


def configure(folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["experiment=bits", "+tiny=dual_encoder", "model.start=null", "device=cpu", f"run.dir={folder / 'run'}"]
        return compose("train", [*fixed, f"data.cache={folder}", *overrides])


def states(count):
    return torch.tensor(list(itertools.product((0.0, 1.0), repeat=count)), dtype=torch.float64)


@pytest.mark.parametrize("equal", [torch.zeros_like(EQUAL), EQUAL], ids=["all", "masked"])
@pytest.mark.parametrize("same_tower", [False, True])
@pytest.mark.parametrize("estimator", [dg.DisARM(), dg.RLOO(2, latent="bernoulli")], ids=["DisARM", "RLOO"])
def test_own_terms_have_the_gradient_of_the_mean_loss(estimator, same_tower, equal):
    """All 64 codes of three documents against the oracle's mean over a document's own points, in all contexts."""
    queries, logits = units(N, BITS), torch.randn(N, BITS, dtype=torch.float64, requires_grad=True)
    every = states(N * BITS).reshape(-1, N, BITS)
    losses = [in_batch_softmax(queries, code(b), equal, TEMPERATURE, same_tower=same_tower).mean() for b in every]
    on = logits.sigmoid()
    probabilities = (every * on + (1 - every) * (1 - on)).flatten(1).prod(1)
    expected = torch.autograd.grad((probabilities * torch.stack(losses)).sum(), logits)[0]
    on = on.detach()
    for document in range(N):
        rest = [other for other in range(N) if other != document]
        total = torch.zeros(BITS, dtype=torch.float64)
        for around in states((N - 1) * BITS).reshape(-1, N - 1, BITS):

            def own(points, document=document, around=around, rest=rest):
                bits = torch.zeros(len(points), N, BITS, dtype=torch.float64)
                bits[:, rest], bits[:, document] = around, points
                return own_terms(queries, code(bits), equal, TEMPERATURE, same_tower=same_tower)[:, document] / N

            probability = (around * on[rest] + (1 - around) * (1 - on[rest])).prod()
            total += probability * dg.exact.moments(estimator, own, logits[document].detach()).mean.detach()
        torch.testing.assert_close(total, expected[document], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("equal", [torch.zeros_like(EQUAL), EQUAL], ids=["all", "masked"])
@pytest.mark.parametrize("same_tower", [False, True])
def test_straight_through_has_the_gradient_of_the_loss_of_the_codes_that_it_drew(same_tower, equal):
    """Of the mean loss of one draw, along the path through its points."""
    queries, logits = units(N, BITS), torch.randn(N, BITS, dtype=torch.float64, requires_grad=True)
    estimator = dg.StraightThrough(latent="bernoulli")
    draw = estimator.sample(logits, torch.Generator().manual_seed(0))
    values = own_terms(queries, code(draw.points), equal, TEMPERATURE, same_tower=same_tower)
    [found] = torch.autograd.grad(estimator.surrogate(draw, values).mean(), logits, retain_graph=True)
    loss = in_batch_softmax(queries, code(draw.points)[0], equal, TEMPERATURE, same_tower=same_tower).mean()
    [expected] = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert float(expected.abs().min()) > 1e-6


@pytest.mark.parametrize("same_tower", [False, True])
def test_two_processes_have_the_terms_of_one(same_tower):
    queries, codes = units(6, 4), units(3, 6, 4)
    equal = torch.zeros(6, 6, dtype=torch.bool)
    equal[0, 4] = equal[4, 0] = True
    whole = own_terms(queries, codes, equal, 0.3, same_tower=same_tower)

    class Known(Rank):
        def gather(self, rows):
            wholes = {2: queries, 3: codes.transpose(0, 1)}
            return equal.long() if rows.dtype == torch.int64 else wholes[rows.ndim]

    for rank in range(2):
        own = slice(3 * rank, 3 * rank + 3)
        found = own_terms(queries[own], codes[:, own], equal[own], 0.3, Known(rank, 2), same_tower)
        torch.testing.assert_close(found, whole[:, own], rtol=1e-12, atol=0)


def test_the_use_of_bits_is_counted():
    bits = torch.tensor([[1, 0, 0], [1, 0, 1], [1, 1, 0], [1, 0, 0]]).float()
    found = use_of_bits(code(bits))
    quarter = 0.25 * 2 + 0.75 * 0.415037499
    assert found["collisions"] == 0.5
    assert found["code_entropy"] == pytest.approx(1.5)  # a half, and twice a quarter
    assert found["bit_entropy"] == pytest.approx((0 + 2 * quarter) / 3, rel=1e-6)
    torch.testing.assert_close(code(bits).norm(dim=1), torch.ones(4))


def test_the_runs_of_the_experiment_lie_apart(monkeypatch):
    """As the commands in conf/experiment/bits.yaml sweep over them."""
    estimators = ("estimator=disarm",), ("estimator=straight_through", "estimator.latent=bernoulli")
    sweep = itertools.product(estimators, (8, 16, 64), ("false", "true"), (0, 1))
    folders = []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for estimator, bits, same_tower, seed in sweep:
            own = [f"model.dimensions={bits}", f"task.same_tower={same_tower}", f"run.seed={seed}"]
            config = compose("train", ["experiment=bits", *estimator, *own], return_hydra_config=True)
            monkeypatch.setattr(HydraConfig.instance(), "cfg", config)  # which knows the choices
            folders.append(config.run.dir)
    assert len(set(folders)) == len(folders) == 24


@pytest.mark.parametrize("estimator", [(), ("estimator=straight_through", "estimator.latent=bernoulli")])
def test_codes_train_and_are_judged(estimator, tmp_path):
    run = train(configure(tmp_path, "task.same_tower=true", *estimator))
    assert 0 < run.result["mrr"] < 1 and 0 <= run.result["collisions"] <= 1 and 0 < run.result["bit_entropy"] <= 1
    assert run.result["sharpness"] != 2.0 and 0 < run.result["code_entropy"] <= 8
    found = run.task.towers()[1](run.task.held_out.documents)
    torch.testing.assert_close(found.abs(), torch.full_like(found, 8**-0.5))
    with pytest.raises(UserError, match="this run has learned binary codes"):
        export(tmp_path / "run", tmp_path / "out")


def test_gradients_reach_all_that_learns(tmp_path):
    task = build(configure(tmp_path, "task.same_tower=true")).task
    assert task.bits == 8 and task.temperature == pytest.approx(0.4)
    task(task.batch(0), torch.Generator().manual_seed(0)).loss.backward()
    assert [name for name, parameter in task.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (("estimator=disarm_tree",), "DisARMTree is for categorical latents, but these codes are bernoulli"),
        (("estimator=unordered_set", "estimator.latent=bernoulli"), "the points of UnorderedSet are no draws"),
        (("estimator=vimco", "estimator.latent=bernoulli"), "VIMCO differentiates a multi-sample bound, where codes"),
        (("estimator=nvil", "estimator.latent=bernoulli"), "NVIL learns, and nothing trains"),
        (("task.temperature=0",), r"task\.temperature"),
        (("task.sharpness=0",), r"task\.sharpness must be a number in"),
    ],
)
def test_what_cannot_be_learned_is_refused(overrides, match, tmp_path):
    with pytest.raises(UserError, match=match):
        build(configure(tmp_path, *overrides))
    assert not (tmp_path / "run").exists()
