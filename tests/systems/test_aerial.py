"""Images from above: oriented boxes, rendered scenes and their expressions, real ones, files as published."""

import math

import pytest
import torch

from experiments.data.aerial import Scene, Thing
from experiments.parts.boxes import canonical, corners, smallest_box


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    scale = torch.tensor([100.0, 80, 30, 30, 8]).double()
    return uniform * scale + torch.tensor([0, 0, 1, 1, -4]).double()


def test_corners_by_hand():
    """Width along x where the angle is 0; a positive angle turns x towards y, which is downwards."""
    upright = torch.tensor([10.0, 20, 6, 2, 0])
    assert corners(upright).tolist() == [[7, 19], [13, 19], [13, 21], [7, 21]]
    turned = torch.tensor([10.0, 20, 6, 2, math.pi / 2])
    torch.testing.assert_close(corners(turned), torch.tensor([[11.0, 17], [11, 23], [9, 23], [9, 17]]))
    tilted = corners(torch.tensor([0.0, 0, 2, 0.1, math.pi / 4]))
    assert (tilted[1] - tilted[0]).min() > 0  # to the right and down


def test_canonical_boxes_have_the_same_corners():
    boxes = random_boxes(200)
    found = canonical(boxes)
    assert (found[:, 2] >= found[:, 3]).all()
    assert ((found[:, 4] >= -math.pi / 2) & (found[:, 4] < math.pi / 2)).all()
    for ours, theirs in zip(corners(found), corners(boxes), strict=True):
        assert torch.cdist(ours, theirs).min(1).values.max() < 1e-12
    edge = canonical(torch.tensor([[0.0, 0, 3, 1, math.pi / 2], [0, 0, 3, 1, -math.pi / 2 - 1e-9]]))
    torch.testing.assert_close(edge[:, 4], torch.tensor([-math.pi / 2] * 2))


def test_the_smallest_box_of_a_box_s_corners_is_the_box():
    for box in canonical(random_boxes(200)):
        torch.testing.assert_close(corners(smallest_box(corners(box))).sort(0).values, corners(box).sort(0).values)


def test_the_smallest_box_holds_its_points_and_no_other_direction_has_less_area():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        points = torch.rand(9, 2, generator=generator, dtype=torch.float64) * 50
        box = smallest_box(points)
        areas = []
        for angle in torch.linspace(0, math.pi, 1801, dtype=torch.float64):
            axes = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
            turned = points @ axes
            areas.append(float((turned.amax(0) - turned.amin(0)).prod()))
        assert box[2] * box[3] <= min(areas) * (1 + 1e-12)
        assert box[2] * box[3] >= min(areas) * 0.99
        axes = torch.tensor([[box[4].cos(), -box[4].sin()], [box[4].sin(), box[4].cos()]])
        assert (((points - box[:2]) @ axes).abs() <= box[2:4] / 2 + 1e-9).all()


@pytest.mark.parametrize("points", [[[0.0, 0], [1, 1]], [[0.0, 0], [1, 1], [2, 2]]])
def test_points_on_a_line_have_no_box(points):
    with pytest.raises(ValueError, match="not on a line"):
        smallest_box(torch.tensor(points))


def test_a_scene_lists_its_boxes_and_blocks():
    square = torch.tensor([[0.0, 0], [4, 0], [4, 4], [0, 4]])
    scene = Scene(torch.zeros(1, 8, 8, dtype=torch.uint8), (Thing.of("building", square, block=3),))
    assert scene.boxes.tolist()[0][:4] == [2, 2, 4, 4]
    assert scene.blocks.tolist() == [3]
    empty = scene._replace(things=())
    assert (empty.boxes.shape, empty.blocks.shape) == ((0, 5), (0,))
