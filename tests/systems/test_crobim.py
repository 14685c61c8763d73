"""CroBIM: its parts are what they say, and the gradients of where to look are those of what is reported."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from test_every_system import configure

import discretegrad as dg
from experiments.data.aerial.scenes import Referred, Referring
from experiments.errors import UserError
from experiments.systems.crobim.attention import Attention
from experiments.systems.crobim.crops import centres, pasted, window, z_order
from experiments.systems.crobim.fusion import LanguageGuided, deficit
from experiments.systems.crobim.judging import Masks, counted, judged
from experiments.systems.crobim.language import Read, Words
from experiments.systems.crobim.model import CroBIM
from experiments.systems.crobim.task import CroBIMTask, dice, losses
from experiments.train import build

BACKBONE = {"model_type": "convnext", "patch_size": 2, "hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2}
TEXT = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
SIZE = 16


def model(**settings):
    torch.manual_seed(0)
    sizes = {"width": 8, "prompts": 2, "layers": 1, "glimpses": 1, "cells": 2, "crop": 8, "hidden": 4}
    made = CroBIM(BACKBONE, TEXT, **(sizes | settings), vocabulary=3).double().eval()
    for parameter in made.parameters():  # nothing is zero, or the same as something else
        parameter.data += 0.1 * torch.randn_like(parameter)
    made.decoder.bias.data.zero_()  # so that masks have pixels of both kinds
    return made


def examples(count=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    found = []
    for number in range(count):
        image = torch.randint(256, (3, SIZE, SIZE), generator=random, dtype=torch.uint8)
        mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
        mask[number : number + 5, 4 : 9 + number] = True
        found.append(Referred(image, ("the tree", "a tree left", "the")[number % 3], mask, number % 2 == 1))
    return found


def task(estimator=None, **settings):
    own = {name: settings.pop(name) for name in ("reward", "entropy") if name in settings}
    scenes = Referring("noise", examples(), examples(seed=1), {}, ("left", "the", "tree"))
    made = CroBIMTask(scenes, lambda vocabulary: model(**settings), estimator or dg.RLOO(2), **own)
    return made


def batch_of(made):
    batch = made.train_stock.take([0, 1, 2], torch.device("cpu"))
    return batch._replace(images=batch.images.double())


# Where to look.


@pytest.mark.parametrize("side", [2, 4, 8])
def test_a_balanced_tree_over_cells_in_z_order_is_a_quadtree(side):
    order = z_order(side)
    assert sorted(map(tuple, order.tolist())) == [*itertools.product(range(side), range(side))]
    for start in range(0, side * side, 4):  # every four are a square of two by two
        square = order[start : start + 4]
        assert (square.amax(0) - square.amin(0)).tolist() == [1, 1]
    quarters = order.reshape(4, -1, 2)
    assert (quarters.amax(1) - quarters.amin(1)).tolist() == [[side // 2 - 1] * 2] * 4


@pytest.mark.parametrize("side", [0, 1, 3, 6])
def test_grids_that_no_binary_tree_halves_are_refused(side):
    with pytest.raises(UserError, match="power of two"):
        z_order(side)


def test_windows_are_cut_out_pixel_by_pixel_and_pasted_back():
    images = torch.rand(3, 2, SIZE, SIZE, dtype=torch.float64)
    cells = torch.tensor([[0, 0], [0, 1], [1, 0]])
    places = centres(cells, 2, SIZE, 8).double()
    found = window(images, places, 8, SIZE)
    for image, cut, (row, column) in zip(images, found, cells.tolist(), strict=True):
        torch.testing.assert_close(cut, image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8])
    logits = torch.rand(3, SIZE, SIZE, dtype=torch.float64)
    back = pasted(logits, found[:, :1], places.unsqueeze(1))
    for image, cut, own, (row, column) in zip(back, found, logits, cells.tolist(), strict=True):
        expected = own.clone()
        expected[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = cut[0]
        torch.testing.assert_close(image, expected)


def test_windows_that_overlap_are_averaged_and_none_leaves_the_image():
    places = centres(torch.tensor([[0, 0], [0, 1]]), 8, SIZE, 8).double()
    assert places.tolist() == [[4, 4], [4, 4]]
    patches = torch.stack((torch.zeros(8, 8), torch.ones(8, 8))).double().unsqueeze(0)
    found = pasted(torch.full((1, SIZE, SIZE), 5.0, dtype=torch.float64), patches, places.unsqueeze(0))
    assert set(found[0, :8, :8].flatten().tolist()) == {0.5} and set(found[0, 8:].flatten().tolist()) == {5.0}


# The parts of the paper.


def test_attention_is_torch_s():
    torch.manual_seed(0)
    own, theirs = Attention(8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([part.weight.data for part in (own.query, own.key, own.value)])
    theirs.in_proj_bias.data = torch.cat([part.bias.data for part in (own.query, own.key, own.value)])
    theirs.out_proj.load_state_dict(own.out.state_dict())
    queries, others, mask = torch.randn(2, 5, 8), torch.randn(2, 3, 8), torch.tensor([[True] * 3, [True, True, False]])
    expected, _ = theirs(queries, others, others, key_padding_mask=~mask)
    torch.testing.assert_close(own(queries, others, mask)[0], expected)


def test_the_pixel_that_words_look_at_most_gets_nothing_back():
    logits = torch.randn(2, 2, 5, 3)
    mask = torch.tensor([[True] * 3, [True, True, False]])
    found = deficit(logits.masked_fill(~mask[:, None, None], -torch.inf), mask)
    for own, there, each in zip(logits, mask, found, strict=True):
        received = own[..., there].softmax(1).mean((0, 2))
        torch.testing.assert_close(each, 1 - received / received.max())


def test_padding_is_never_looked_at():
    made = model(glimpses=0)
    images = torch.rand(1, 3, SIZE, SIZE, dtype=torch.float64)
    short, long = (Words(torch.tensor([[2, 3] + [0] * n])) for n in (0, 4))
    torch.testing.assert_close(made(images, short), made(images, long))
    assert not torch.allclose(made(images, short), made(images, Words(torch.tensor([[3, 2]]))))


@pytest.mark.parametrize("part", [{"prompts": 0}, {"guided": False}, {"layers": 0}])
def test_every_part_is_a_switch(part):
    images, words = torch.rand(2, 3, SIZE, SIZE, dtype=torch.float64), Words(torch.tensor([[2, 3], [4, 0]]))
    whole, without = (model(glimpses=0, **settings) for settings in ({}, part))
    assert whole(images, words).shape == without(images, words).shape == (2, SIZE, SIZE)
    assert sum(p.numel() for p in without.parameters()) < sum(p.numel() for p in whole.parameters())


def test_prompts_have_seen_the_image_and_words_alone_have_not():
    made = model(glimpses=0)
    words = Words(torch.tensor([[2, 3]]))
    maps = [[torch.randn(1, 8, 4, 4, dtype=torch.float64)] for _ in range(2)]
    first, second = (made.text(words, own) for own in maps)
    assert torch.equal(first.words, second.words) and not torch.allclose(first.prompted, second.prompted)
    assert first.prompted.shape == (1, 4, 8) and first.prompted_mask.all()


def test_lgfa_keeps_shapes_and_mixes_scales():
    torch.manual_seed(0)
    fuse = LanguageGuided(8, 2)
    maps = [torch.randn(1, 8, 8, 8), torch.randn(1, 8, 4, 4)]
    words, mask = torch.randn(1, 3, 8), torch.ones(1, 3, dtype=torch.bool)
    read = Read(words, mask, words, mask)
    found = fuse(maps, read)
    assert [each.shape for each in found] == [each.shape for each in maps]
    moved = fuse([maps[0], maps[1] + torch.randn_like(maps[1])], read)
    assert not torch.allclose(found[0], moved[0])


# What is learned.


def brute_force(made, batch):
    """Losses and f of all cells: `[C, B]` each, with their graphs."""
    seen = made.model.see(batch.images, batch.words)
    count = made.model.cells**2
    ids = torch.arange(count)[:, None, None].expand(count, len(batch.images), 1)
    places = made.model.places_of(ids, batch.images)
    logits = torch.cat([made.model.closely(seen, own[None]) for own in places])
    values = losses(logits, batch.masks)
    return seen, values, made.f(logits, values, batch.masks).detach()


def gradients(loss, parameters):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, allow_unused=True) if g is not None])


@pytest.mark.parametrize("reward", ["dice", "iou", "loss"])
def test_the_gradient_is_the_enumerated_one(reward):
    """By `Exact`: f's in what says where to look, the mean loss's in the network."""
    made = task(dg.Exact(), reward=reward)
    batch = batch_of(made)
    seen, values, f = brute_force(made, batch)
    probabilities = seen.cells.softmax(-1)[:, 0].T
    expected_policy = gradients((probabilities * f).sum(0).mean(), [*made.model.policy.parameters()])
    rest = made.groups()["optimizer"]
    expected_rest = gradients((probabilities.detach() * values).sum(0).mean(), rest)
    surrogate, _ = made.estimated(made.model.see(batch.images, batch.words), batch, torch.Generator())
    loss = surrogate.mean()
    torch.testing.assert_close(loss.detach(), (probabilities * values).sum(0).mean().detach())
    torch.testing.assert_close(gradients(loss, [*made.model.policy.parameters()]), expected_policy)
    surrogate, _ = made.estimated(made.model.see(batch.images, batch.words), batch, torch.Generator())
    torch.testing.assert_close(gradients(surrogate.mean(), rest), expected_rest)
    assert expected_policy.abs().max() > 1e-6 and expected_rest.abs().max() > 1e-6


@pytest.mark.parametrize("estimator", [dg.RLOO(3), dg.DisARMTree(), dg.Flow(), dg.LocalExpectation()])
def test_estimators_are_given_f_at_their_points(estimator):
    """What they make of it is unbiased by the library's proofs; the network follows the mean loss of the points."""
    made = task(estimator, reward="iou")
    batch = batch_of(made)
    seen, values, f = brute_force(made, batch)
    draw = estimator.sample(seen.cells.detach().requires_grad_(), torch.Generator().manual_seed(3))
    picked = draw.indices[..., 0]
    (expected,) = torch.autograd.grad(estimator.surrogate(draw, f.gather(0, picked)).mean(), draw.logits)
    expected_rest = gradients(estimator.surrogate(draw, values.gather(0, picked)).mean(), made.groups()["optimizer"])

    seen = made.model.see(batch.images, batch.words)
    seen = seen._replace(cells=seen.cells.detach().requires_grad_())
    surrogate, mean = made.estimated(seen, batch, torch.Generator().manual_seed(3))
    (found,) = torch.autograd.grad(surrogate.mean(), seen.cells, retain_graph=True)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(surrogate.mean(), made.groups()["optimizer"]), expected_rest)
    assert math.isclose(mean, float(estimator.surrogate(draw, f.gather(0, picked)).detach().mean()), rel_tol=1e-6)


def test_a_soft_look_has_a_gradient_where_to_look_and_is_served_at_a_cell():
    made = task(look="soft")
    batch = batch_of(made)
    made.world = None
    loss = made.forward(batch, torch.Generator()).loss
    assert gradients(loss, [*made.model.policy.parameters()]).abs().max() > 1e-8
    seen = made.model.see(batch.images, batch.words)
    served = made.model.likeliest(seen)
    assert {tuple(place) for place in served.flatten(0, 1).tolist()} <= {(4, 4), (12, 4), (4, 12), (12, 12)}
    torch.testing.assert_close(made.model(batch.images, batch.words), made.model.closely(seen, served[None])[0])


def test_where_to_look_leaves_the_features_alone():
    made = task(dg.RLOO(2))
    batch = batch_of(made)
    seen = made.model.see(batch.images, batch.words)
    found = torch.autograd.grad(seen.cells.square().sum(), made.groups()["optimizer"], allow_unused=True)
    assert all(gradient is None for gradient in found)


# How masks are judged.


def test_judgements_by_hand():
    truth = torch.zeros(2, 10, 10, dtype=torch.bool)
    truth[0, :1, :1], truth[1, :4, :5] = True, True
    logits = torch.full((2, 10, 10), -1.0)
    logits[0, :1, :2], logits[1, :3, :5] = 1.0, 1.0
    both, either = counted(logits, truth)
    assert (both.tolist(), either.tolist()) == ([1, 15], [2, 20])
    masks = Masks(both, either, truth.double().mean((1, 2)), torch.tensor([True, False]), torch.tensor([True, False]))
    found = judged(masks, closer=True)
    assert found["miou"] == pytest.approx(100 * (1 / 2 + 3 / 4) / 2) and found["oiou"] == pytest.approx(1600 / 22)
    assert [found[f"precision_at_{n}0"] for n in (5, 6, 7, 8, 9)] == [50, 50, 50, 0, 0]  # one half is not above .5
    assert (found["miou_relational"], found["miou_plain"]) == (50, 75)
    assert (found["miou_small"], found["miou_large"]) == (50, 75)
    assert found["window_hits"] == 50
    assert "miou_relational" not in judged(masks.where(torch.tensor([1])), closer=True)


def test_losses_by_hand():
    masks = torch.tensor([[[True, False]]])
    logits = torch.tensor([[[0.0, 0.0]]])
    assert float(dice(logits, masks)) == pytest.approx((2 * 0.5 + 1) / (1 + 1 + 1))
    assert float(losses(logits, masks)) == pytest.approx(math.log(2) + 1 - 2 / 3)
    confident = torch.tensor([[[100.0, -100.0]]])
    assert float(losses(confident, masks)) == pytest.approx(0.0, abs=1e-6)
    assert F.binary_cross_entropy_with_logits(logits, masks.float()) == pytest.approx(math.log(2))


# What does not fit.


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["estimator=straight_through"], "where windows are looked up there is none"),
        (["estimator=disarm"], "for bernoulli latents, but these windows are categorical"),
        (["estimator=vimco"], "windows are judged by E f"),
        (["task.reward=luck"], "task.reward is one of dice, iou, loss, not 'luck'"),
        (["model.cells=6"], "model.cells must be a power of two"),
        (["model.crop=100"], "model.crop=100 is larger than the images, 64 pixels"),
        (["model.reduce=5"], "no squares of a multiple of model.reduce"),
        (["model.look=hard"], "model.look is drawn or soft, not 'hard'"),
        (["model.width=10"], "model.width must be a multiple of 4"),
        (["model.backbone.model_type=bert"], "bert is no backbone of transformers"),
        (["model.text.model_type=nothing"], "model.text.model_type=nothing is no architecture"),
        (["model.glimpses=-1"], "model.glimpses"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, overrides, match):
    with pytest.raises(UserError, match=match):
        build(configure("crobim", tmp_path, *overrides))


def test_words_that_are_not_known_are_one_word(tmp_path):
    known = {"the": 2, "tree": 3}
    assert Words.of(["The tree nowhere", "the"], known, 3).ids.tolist() == [[2, 3, 1], [2, 0, 0]]
    config = configure("crobim", tmp_path)
    assert set(instantiate(config.data).words) >= {"the", "tree"}
