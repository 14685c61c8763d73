"""Overlaps of oriented boxes are those that shapely finds."""

import math

import pytest
import torch
from shapely import Polygon, box, make_valid
from shapely.affinity import rotate

from experiments.parts.boxes import corners
from experiments.parts.detections import Detections, Judged
from experiments.parts.overlaps import intersection, intersection_over_union


def random_boxes(count, seed):
    drawn = torch.rand(count, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * torch.tensor([30, 30, 20, 20, 7.0]).double() + torch.tensor([0, 0, 0.1, 0.1, -3.5]).double()


def outline(numbers):
    """By shapely's own rotation, which takes degrees from x to y."""
    x, y, width, height, angle = numbers.tolist()
    flat = box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return rotate(flat, math.degrees(angle), origin=(x, y))


def test_corners_are_those_of_a_rotated_rectangle():
    for numbers in random_boxes(50, 0):
        own = Polygon(corners(numbers).tolist())
        assert own.symmetric_difference(outline(numbers)).area == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_common_areas_and_overlaps(dtype, tolerance):
    first, second = random_boxes(400, 1), random_boxes(400, 2)
    areas = intersection(first.to(dtype), second.to(dtype)).double()
    polygons = [(outline(a), outline(b)) for a, b in zip(first, second, strict=True)]
    expected = torch.tensor([a.intersection(b).area for a, b in polygons], dtype=torch.float64)
    torch.testing.assert_close(areas, expected, rtol=tolerance, atol=100 * tolerance)
    assert 100 < (expected > 0).sum() < 390
    found = intersection_over_union(first[:20].to(dtype), second[:20].to(dtype)).double()
    ratios = [[a.intersection(b).area / a.union(b).area for _, b in polygons[:20]] for a, _ in polygons[:20]]
    torch.testing.assert_close(found, torch.tensor(ratios, dtype=torch.float64), rtol=10 * tolerance, atol=tolerance)


def test_boxes_that_nearly_coincide():
    """Sides on sides, where a clipped polygon has corners that are hardly apart."""
    for shift in (0.0, 1e-12, 1e-9, 1e-6, 1e-3):
        for turn in (0.0, math.pi / 2, math.pi, 1e-9):
            one = torch.tensor([[50.0, 40, 12, 12, 0.4]]).double()
            other = one + torch.tensor([shift, -shift, 0, 0, turn]).double()
            expected = outline(one[0]).intersection(outline(other[0])).area
            assert intersection(one, other).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_average_precision_with_the_overlaps_of_shapely(threshold):
    """All steps once more, one detection after the other."""
    generator = torch.Generator().manual_seed(4)
    images = []
    for seed in range(6):
        truth = random_boxes(8, 10 + seed)
        noise = torch.randn(8, 5, generator=generator, dtype=torch.float64) * torch.tensor([0.7, 0.7, 0.7, 0.7, 0.05])
        boxes = torch.cat([(truth + noise).clamp(min=0.05), random_boxes(4, 100 + seed)])
        images.append(Detections(boxes, torch.rand(12, generator=generator), truth))
    found = [(float(score), n, place) for n, each in enumerate(images) for place, score in enumerate(each.scores)]
    free = {(number, place) for number, each in enumerate(images) for place in range(len(each.truth))}
    hits = []
    for _, number, place in sorted(found, reverse=True):
        own = make_valid(outline(images[number].boxes[place]))
        options = {}
        for other, truth in free:
            if other == number:
                there = outline(images[number].truth[truth])
                options[truth] = own.intersection(there).area / own.union(there).area
        best = max(options, key=options.get, default=None)
        hits.append(best is not None and options[best] >= threshold)
        if hits[-1]:
            free.remove((number, best))
    precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
    expected = sum(max(precisions[n:]) for n, hit in enumerate(hits) if hit) / 48
    assert Judged.of(images, threshold).average_precision() == pytest.approx(expected, abs=1e-9)
    assert 0.02 < expected < 0.95
