"""Same-tower negatives: the loss is its formula in one process and in two, and what is said of towers is so."""

import math

import pytest
import torch
from hydra import compose, initialize_config_dir
from test_conf import CONF
from test_dual_encoder import toy_run
from test_retrieval import Rank, units

from experiments.errors import UserError
from experiments.parts.contrastive import equal_texts, in_batch_softmax
from experiments.systems.dual_encoder.alignment import alignment, similarity_ratios
from experiments.train import build


def by_hand(queries, documents, equal, temperature):
    """Each pair's loss with same-tower negatives, in plain loops."""
    losses = []
    for i in range(len(queries)):
        total = 0.0
        for rows, columns in ((queries, documents), (documents, queries)):
            scores = [float(rows[i] @ columns[j]) / temperature for j in range(len(columns)) if not equal[i][j]]
            scores += [float(rows[i] @ rows[j]) / temperature for j in range(len(rows)) if j != i and not equal[i][j]]
            total += math.log(sum(math.exp(score) for score in scores)) - float(rows[i] @ columns[i]) / temperature
        losses.append(total / 2)
    return torch.tensor(losses, dtype=torch.float64)


def test_the_loss_is_its_formula():
    queries, documents = units(7, 5), units(7, 5)
    equal = torch.rand(7, 7) < 0.3
    equal = (equal | equal.T).fill_diagonal_(False)
    found = in_batch_softmax(queries, documents, equal, 0.3, same_tower=True)
    torch.testing.assert_close(found, by_hand(queries, documents, equal.tolist(), 0.3), rtol=1e-12, atol=0)
    assert (found > in_batch_softmax(queries, documents, equal, 0.3)).all()


def test_two_processes_have_the_loss_and_gradient_of_one():
    """Negatives come from all processes, those of the same tower too, each without itself."""
    numbers = torch.tensor([[0, 1, 2, 0, 3, 4], [0, 1, 2, 3, 2, 4]])
    wholes = [*(units(6, 4).requires_grad_() for _ in range(2)), *numbers]
    whole = in_batch_softmax(*wholes[:2], equal_texts(*numbers), 0.2, same_tower=True)
    losses = []
    for rank in range(2):
        halves = [column[3 * rank : 3 * rank + 3] for column in wholes]
        world = Rank(rank, 2).with_parts(*(([half], all_) for half, all_ in zip(halves, wholes, strict=True)))
        losses.append(in_batch_softmax(*halves[:2], equal_texts(*halves[2:], world), 0.2, world, same_tower=True))
    torch.testing.assert_close(torch.cat(losses), whole, rtol=1e-12, atol=0)
    mean = torch.stack([loss.mean() for loss in losses]).mean()
    for found, expected in zip(
        torch.autograd.grad(mean, wholes[:2]), torch.autograd.grad(whole.mean(), wholes[:2]), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def test_what_lies_in_one_place_is_not_told_apart():
    """Of 1,000 texts that nothing tells apart the probe is right in 0.5 +- 0.016: six errors are wrong once in 5e8."""
    cloud = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    found = alignment(cloud[:1000], cloud[1000:])
    assert abs(found["separability"] - 0.5) < 6 * 0.016 and found["centroid_distance"] < 0.2
    shift = torch.tensor([0.0, 8.0, 6.0])
    found = alignment(cloud[:1000], cloud[:1000] + shift)
    assert found["centroid_distance"] == pytest.approx(10, rel=1e-5) and found["separability"] > 0.99
    assert alignment(cloud[:40], cloud[:1000] + shift)["separability"] > 0.9  # of as many of either kind


def test_ratios_are_those_of_the_nearest_wrong_document():
    queries, documents = units(8, 3), units(8, 3)
    for i, ratio in enumerate(similarity_ratios(queries, documents)):
        j = max((j for j in range(8) if j != i), key=lambda j, i=i: float(queries[i] @ documents[j]))
        assert float(ratio) == pytest.approx(float(queries[i] @ queries[j]) / float(queries[i] @ documents[j]))
    torch.testing.assert_close(similarity_ratios(queries, queries), torch.ones(8, dtype=torch.float64))


def test_runs_have_the_loss_that_they_ask_for(tmp_path):
    losses = {}
    for same_tower in (False, True):
        task = toy_run(tmp_path / f"{same_tower}", tmp_path, dropout=0.0, task={"same_tower": same_tower}).task
        losses[same_tower] = task(task.batch(0), torch.Generator()).loss.detach()
    assert losses[True] > losses[False]


def test_what_is_neither_true_nor_false_is_refused(tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = ["experiment=samtone", "+tiny=dual_encoder", "model.start=null", f"run.dir={tmp_path / 'run'}"]
        config = compose("train", [*fixed, "task.same_tower=maybe"])
    with pytest.raises(UserError, match=r"task\.same_tower is true or false, not 'maybe'"):
        build(config)
