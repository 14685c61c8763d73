"""Images from above: oriented boxes, rendered scenes and their expressions, real ones, files as published."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from experiments.data.aerial import Scene, Thing, buildings
from experiments.data.aerial.buildings import _tiles
from experiments.data.aerial.footprints import Footprint
from experiments.data.aerial.geometry import UNIT, clipped, coverage, doubled_area, hull, rectangle, turned
from experiments.data.aerial.shipped import atlanta, atlanta_layouts, resized, sentinel
from experiments.data.aerial.traced import blocks, plans
from experiments.errors import UserError
from experiments.parts.boxes import canonical, corners, smallest_box

ROOT = Path(__file__).parents[2]


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
    for box in canonical(random_boxes(50)):
        torch.testing.assert_close(corners(smallest_box(corners(box))).sort(0).values, corners(box).sort(0).values)


def test_the_smallest_box_holds_its_points_and_no_other_direction_has_less_area():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        points = torch.rand(9, 2, generator=generator, dtype=torch.float64) * 50
        box = smallest_box(points)
        angles = torch.linspace(0, math.pi, 1801, dtype=torch.float64)
        axes = torch.stack((torch.stack((angles.cos(), angles.sin())), torch.stack((-angles.sin(), angles.cos()))))
        turned_points = torch.einsum("pc,act->apt", points, axes)
        areas = (turned_points.amax(1) - turned_points.amin(1)).prod(0).tolist()
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


def covered(outline, height, width):
    found = np.zeros((height, width), dtype=np.int64)
    patch = coverage(outline, height, width)
    if patch is not None:
        found[patch.rows, patch.columns] = patch.covered
    return found


def test_coverage_counts_the_points_inside():
    """By brute force over 16 points of every pixel, also where outlines cross themselves or reach beyond the image."""
    random = np.random.RandomState(0)
    places = np.arange(24 * 4) * 4 + 2
    y, x = np.meshgrid(places, places, indexing="ij")
    for _ in range(50):
        outline = random.randint(-150, 24 * UNIT + 150, (random.randint(3, 9), 2)).astype(np.int64)
        inside = np.zeros_like(x)
        for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, 0), strict=True):
            between = ((y0 <= y) & (y < y1)) | ((y1 <= y) & (y < y0))
            inside ^= between & (((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) * np.sign(y1 - y0) >= 0)
        assert (covered(outline, 24, 24) == inside.reshape(24, 4, 24, 4).sum((1, 3))).all()


def test_hulls_are_scipy_s():
    random = np.random.RandomState(2)
    for _ in range(50):
        points = random.randint(-6, 7, (random.randint(4, 20), 2)).astype(np.int64)
        if np.linalg.matrix_rank(points - points[0]) == 2:
            assert {*map(tuple, hull(points))} == {*map(tuple, points[ConvexHull(points).vertices])}


def test_what_is_cut_off_covers_the_same_of_the_image():
    random = np.random.RandomState(1)
    for _ in range(50):
        outline = turned(rectangle(2 * random.randint(20, 200), 2 * random.randint(20, 200)), random.randint(360))
        outline = outline + random.randint(-50, 24 * UNIT + 50, 2)
        part = clipped(outline, 24, 24)
        whole = covered(outline, 24, 24)
        assert len(part) > 2 or whole.sum() == 0
        if len(part) > 2:  # but for points on an edge that was rounded
            assert np.abs(covered(part, 24, 24) - whole).sum() <= 24
            assert abs(doubled_area(part) / 2 / UNIT - whole.sum()) < 4 * 24 * 2


@pytest.fixture(scope="module")
def layouts():
    return buildings(scenes=6, held_out=8)


def test_a_scene_is_the_same_whenever_it_is_asked_for(layouts):
    again = buildings(scenes=50, held_out=8)
    for number in (3, 0):
        ours, theirs = layouts.train[number], again.train[number]
        assert torch.equal(ours.image, theirs.image) and torch.equal(ours.boxes, theirs.boxes)
    assert not torch.equal(layouts.train[0].image, layouts.test[0].image)
    assert layouts.train[-1].image.shape == (1, 96, 96)
    with pytest.raises(IndexError, match="none is number 6"):
        layouts.train[6]


def test_boxes_are_the_least_around_the_outlines(layouts):
    for scene in layouts.test:
        for thing in scene.things:
            least = smallest_box(thing.polygon.double())
            torch.testing.assert_close(thing.box[2] * thing.box[3], (least[2] * least[3]).float(), rtol=0.03, atol=0.5)
            torch.testing.assert_close(thing.box[:2], least[:2].float(), rtol=0, atol=0.2)


def sizes(things):
    return sorted(tuple(sorted(map(float, thing.box[2:4]))) for thing in things)


def apart(a, b):
    """The smaller angle between two boxes' sides, in degrees."""
    turn = math.degrees(float(a.box[4] - b.box[4])) % 90
    return min(turn, 90 - turn)


def test_rows_share_their_angle_and_clutter_does_not(layouts):
    seen = 0
    for scene in layouts.test:
        whole = [t for t in scene.things if all(4 < x < 92 for x in t.polygon.flatten())]
        for thing in whole:
            assert all(apart(thing, other) <= 4.1 for other in whole if other.block == thing.block)
        for odd in (t for t in scene.clutter if all(4 < x < 92 for x in t.polygon.flatten())):
            near = min(scene.things, key=lambda t: float((t.box[:2] - odd.box[:2]).norm()))
            seen += apart(odd, near) > 15
    assert seen > 5


def test_shuffled_scenes_have_the_same_buildings_and_no_layout(layouts):
    """Nothing is lost, no box overlaps another, and angles are uniform: a chi-square test, false alarm 1e-6."""
    turns = []
    for ordered, mixed in zip(layouts.test, layouts.others["shuffled"], strict=True):
        assert len(ordered.things) == len(mixed.things) and len(ordered.clutter) == len(mixed.clutter)
        assert (mixed.blocks == -1).all()
        taken = sum(covered(np.round(t.polygon.numpy() * UNIT).astype(np.int64), 96, 96) > 8 for t in mixed.things)
        assert taken.max() == 1
        turns += [math.degrees(float(t.box[4])) % 90 for t in mixed.things]
    counts = np.histogram(turns, 3, (0, 90))[0]
    assert ((counts - len(turns) / 3) ** 2).sum() / (len(turns) / 3) < 27.7


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"size": 8}, r"data\.size must be an integer of at least 64"),
        ({"scenes": 0}, r"data\.scenes must be"),
        ({"clutter": -1}, r"data\.clutter must be"),
        ({"digest": "0" * 16}, r"data=buildings renders other scenes than those of data\.digest=0000"),
        ({"layouts": "atlanta", "tiles": 34}, r"data\.tiles=34 are more than the 33"),
        ({"layouts": "paris"}, "drawn or atlanta, not 'paris'"),
        ({"pixel_size": 0.3}, r"data\.pixel_size is 0\.5, 1 or 2 metres, not 0\.3"),
    ],
)
def test_what_cannot_be_rendered_is_refused(given, match):
    with pytest.raises(UserError, match=match):
        buildings(**given)


def test_what_is_shipped_is_what_it_says():
    """Its hashes are checked at every load; here what is in it, and that halves lose no building."""
    tile, scene = atlanta(), sentinel()
    assert (tile.image.shape, len(tile.things)) == ((1, 900, 900), 43)
    assert sum(len(tile.crop(0, left, 900, 450).things) for left in (0, 450)) == 43
    assert (scene.image.shape, len(scene.things), sum(bool(t.name) for t in scene.things)) == ((3, 768, 1536), 604, 17)
    assert (len(atlanta_layouts()), sum(map(len, atlanta_layouts()))) == (33, 2319)
    small = resized(tile, 2)
    assert small.image.shape == (1, 450, 450)
    torch.testing.assert_close(
        small.image[0, 7, 9].float(), tile.image[0, 14:16, 18:20].float().mean(), atol=0.5, rtol=0
    )
    torch.testing.assert_close(small.boxes, torch.cat((tile.boxes[:, :4] / 2, tile.boxes[:, 4:]), 1))


def test_masks_have_holes_and_crops_cut():
    square = torch.tensor([[2.0, 2], [10, 2], [10, 10], [2, 10]])
    lake = Thing.of("water", square, rest=(square / 2 + 3,))
    scene = Scene(torch.arange(144, dtype=torch.uint8).reshape(1, 12, 12), (lake,))
    assert scene.mask(0).sum() == 64 - 16 and not scene.mask(0)[5, 5] and scene.mask(0)[2, 2]
    part = scene.crop(1, 6, 8, 6)
    assert torch.equal(part.mask(0), scene.mask(0)[1:9, 6:12])
    assert torch.equal(part.image, scene.image[:, 1:9, 6:12])
    around = corners(part.things[0].box)
    torch.testing.assert_close(torch.stack((around.amin(0), around.amax(0))), torch.tensor([[0.0, 1], [4, 8]]))
    assert scene.crop(0, 9, 12, 3).things == ()  # an eighth is left


def test_traced_layouts_are_the_real_ones():
    """Outlines turned upright and back are the shipped ones, to the rounding of a sixteenth."""
    for tile, outlines in zip(plans(), atlanta_layouts(), strict=True):
        assert len(tile) == len(outlines)
        for plan, outline in list(zip(tile, outlines, strict=True))[::10]:
            assert np.abs(plan.polygon - np.round(outline.numpy() * UNIT)).max() <= 3
            wide, high = plan.outline.max(0) - plan.outline.min(0)
            assert wide >= high - 4


def test_blocks_are_chains_of_neighbours_that_are_turned_alike():
    house, metre = rectangle(20 * UNIT, 12 * UNIT), 2 * UNIT
    places = [(0, 0), (25, 3), (50, 174), (75, 45), (140, 90), (20, 181)]
    row = [Footprint((x * metre, 0), house, degrees % 180, -1) for x, degrees in places]
    assert [plan.block for plan in blocks(row)] == [0, 0, 0, 1, 2, 0]


def test_tiles_to_judge_by_are_others():
    """Unless there are none left."""
    few, every = (buildings(layouts="atlanta", tiles=tiles, scenes=1, held_out=1) for tiles in (1, 33))
    assert not torch.equal(few.test[0].image, every.test[0].image)
    assert _tiles(27) == (tuple(range(27)), tuple(range(27, 33)))
    assert _tiles(33) == (tuple(range(33)),) * 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_scenes_on_real_layouts(shuffle):
    data = buildings(layouts="atlanta", shuffle=shuffle, scenes=3, held_out=2, pixel_size=0.5)
    for scene in (*data.train, *data.test):
        assert len(scene.things) > 0 and scene.image.float().std() > 3
        assert ((scene.blocks == -1) == shuffle).all()
    assert data.others["atlanta"][0].image.shape == (1, 900, 900)
    assert "synthetic" in data.name


@pytest.mark.slow
@pytest.mark.parametrize("data", ["buildings", "referring"])
def test_what_is_rendered_has_the_digest_of_its_configuration(data):
    """Also with the instructions of older processors, and another number of threads."""
    script = (
        "import sys; from omegaconf import OmegaConf; from hydra.utils import instantiate;"
        "print(instantiate(OmegaConf.load(sys.argv[1])).name)"
    )
    disabled = {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-c", script, str(ROOT / "conf" / "data" / f"{data}.yaml")]
    done = subprocess.run(command, env=os.environ | disabled, cwd=ROOT, capture_output=True, text=True)
    assert "synthetic" in done.stdout, done.stderr
