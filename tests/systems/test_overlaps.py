"""Oriented boxes: overlaps in closed form and by hulls, who remains where they overlap, features in their frames."""

import math

import pytest
import torch
from scipy.spatial import ConvexHull

from experiments.parts.boxes import corners
from experiments.parts.overlaps import intersection, intersection_over_union, suppressed
from experiments.parts.regions import grid, sampled


def box(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def random_boxes(count, seed=0, reach=20.0):
    """Of all shapes, many of which touch."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    scale, shift = box(reach, reach, 14, 14, 4 * math.pi), box(0, 0, 0.5, 0.5, -2 * math.pi)
    return drawn * scale + shift


def by_hull(first, second):
    """The common area of two boxes: the hull of the corners of each within the other, and of where sides cross."""
    found = []
    one, other = corners(first), corners(second)
    for points, frame in ((one, second), (other, first)):
        away = points - frame[:2]
        along = torch.stack([frame[4].cos(), frame[4].sin()])
        own = torch.stack([away @ along, away[:, 1] * along[0] - away[:, 0] * along[1]], -1)
        found += [p for p, o in zip(points, own, strict=True) if (o.abs() <= frame[2:4] / 2 + 1e-12).all()]
    for a, b in zip(one, one.roll(-1, 0), strict=True):
        for c, d in zip(other, other.roll(-1, 0), strict=True):
            matrix = torch.stack([b - a, c - d], -1)
            if matrix.det().abs() > 1e-12:
                s, t = torch.linalg.solve(matrix, c - a)
                if 0 <= s <= 1 and 0 <= t <= 1:
                    found.append(a + s * (b - a))
    return ConvexHull(torch.stack(found).numpy()).volume if len(found) > 2 else 0.0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((5, 5, 4, 2, 0.3), (5, 5, 4, 2, 0.3), 1.0),
        ((5, 5, 4, 2, 0.3), (5, 5, 2, 4, 0.3 + math.pi / 2), 1.0),  # the same rectangle, named in another way
        ((5, 5, 4, 2, 0.3), (5, 5, 4, 2, 0.3 - 3 * math.pi), 1.0),
        ((0, 0, 2, 2, 0.0), (1, 0, 2, 2, 0.0), 1 / 3),
        ((0, 0, 2, 2, 0.0), (0, 0, 2, 2, math.pi / 4), (8 * (2**0.5 - 1)) / (8 - 8 * (2**0.5 - 1))),
        ((0, 0, 8, 8, 0.7), (1, 1, 2, 1, 0.1), 2 / 64),  # within
        ((0, 0, 6, 2, 0.0), (0, 0, 6, 2, math.pi / 2), 4 / 20),  # a cross
        ((0, 0, 2, 2, 0.0), (2, 0, 2, 2, 0.0), 0.0),  # side by side
        ((0, 0, 2, 2, 0.0), (9, 0, 2, 2, 0.0), 0.0),
        ((0, 0, 0, 2, 0.0), (0, 0, 2, 2, 0.0), 0.0),  # no area
        ((0, 0, 0, 0, 0.0), (0, 0, 0, 0, 0.0), 0.0),
    ],
)
def test_overlaps_in_closed_form(first, second, expected):
    found = intersection_over_union(box(*first)[None], box(*second)[None])
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_common_areas_are_those_of_hulls():
    first, second = random_boxes(150), random_boxes(150, seed=1)
    found = intersection(first, second)
    expected = [by_hull(*each) for each in zip(first, second, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    assert 40 < (found > 0).sum() < 140


def test_overlaps_do_not_depend_on_the_frame_or_the_order():
    first, second = random_boxes(30), random_boxes(20, seed=1)
    found = intersection_over_union(first, second)
    torch.testing.assert_close(intersection_over_union(second, first).T, found, rtol=1e-9, atol=1e-12)
    turn = 0.8
    rotation = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]], dtype=torch.float64)

    def carried(boxes):
        return torch.cat([boxes[:, :2] @ rotation + 1000, boxes[:, 2:4], boxes[:, 4:] + turn], -1)

    torch.testing.assert_close(intersection_over_union(carried(first), carried(second)), found, rtol=1e-7, atol=1e-9)
    single = intersection_over_union(first.float(), second.float())
    torch.testing.assert_close(single.double(), found, rtol=1e-3, atol=1e-5)
    many = intersection_over_union(first.expand(2, 3, -1, -1), second)
    assert many.shape == (2, 3, 30, 20) and torch.equal(many[1, 2], many[0, 0])
    assert intersection_over_union(first[:0], second).shape == (0, 20)


def test_the_better_of_two_that_overlap_remains():
    boxes = torch.stack([box(0, 0, 4, 4, 0), box(1, 0, 4, 4, 0), box(2, 0, 4, 4, 0), box(20, 0, 4, 4, 0)])
    scores = torch.tensor([0.7, 0.9, 0.8, 0.1])
    assert suppressed(boxes, scores, 0.5).tolist() == [False, True, False, True]
    # Where the best one is not there, its neighbours, whose own overlap is a third, both remain.
    present = torch.tensor([True, False, True, True])
    assert suppressed(boxes, scores, 0.5, present).tolist() == [True, False, True, True]
    # What is gone suppresses nothing.
    assert suppressed(boxes, torch.tensor([0.9, 0.8, 0.7, 0.1]), 0.5).tolist() == [True, False, True, True]


def test_who_remains_is_found_one_by_one():
    boxes = random_boxes(60).view(2, 30, 5)
    scores = torch.rand(2, 30, generator=torch.Generator().manual_seed(3))
    for row, (own, score) in enumerate(zip(boxes, scores, strict=True)):
        kept = []
        for number in score.argsort(descending=True).tolist():
            if all(by_overlap <= 0.2 for by_overlap in intersection_over_union(own[[number]], own[kept])[0].tolist()):
                kept.append(number)
        assert suppressed(boxes, scores, 0.2)[row].nonzero().flatten().tolist() == sorted(kept)
        assert 3 < len(kept) < 28


def test_features_of_a_box_are_those_under_it():
    """Maps of the coordinates of their own cells give back where the cells of a box lie."""
    maps = []
    for stride in (4, 8):
        y, x = ((torch.arange(count) + 0.5) * stride for count in (64 // stride, 96 // stride))
        maps.append(torch.stack(torch.meshgrid(x, y, indexing="xy")).double().expand(2, -1, -1, -1))
    boxes = torch.stack([box(40, 30, 12, 8, 0.4), box(50, 34, 20, 30, -1.0)]).expand(2, -1, -1)
    found = sampled(maps, boxes, (64, 96), 5, 16.0, 1.2)
    assert found.shape == (2, 2, 2, 5, 5)
    torch.testing.assert_close(found.movedim(2, -1), grid(boxes, 5, 1.2), rtol=1e-9, atol=1e-9)
    middle = grid(boxes, 5, 1.0)
    torch.testing.assert_close(middle.mean((2, 3)), boxes[..., :2], rtol=1e-12, atol=1e-9)
    first = corners(boxes[0, 0])
    torch.testing.assert_close(middle[0, 0, 0, 4] - boxes[0, 0, :2], 0.8 * (first[1] - boxes[0, 0, :2]))


def test_the_size_of_a_box_says_which_map_is_read():
    maps = [torch.full((1, 1, 64 // stride, 64 // stride), float(stride), requires_grad=True) for stride in (4, 8, 16)]
    sizes = (2.0, 16.0, 17.0, 32.0, 33.0, 60.0)
    boxes = torch.tensor([[[32.0, 32, 2 * size, size / 2, 0.5] for size in sizes]], requires_grad=True)
    found = sampled(maps, boxes, (64, 64), 1, 16.0)
    assert found.flatten().tolist() == [4, 4, 8, 8, 16, 16]
    found.sum().backward()
    assert boxes.grad is None and all(each.grad.sum() == 2 for each in maps)
    beyond = sampled(maps, torch.tensor([[[-40.0, 32, 10, 10, 0]]]), (64, 64), 3, 16.0)
    assert not beyond.any()
