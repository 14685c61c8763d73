"""Images from above in small files of the form that they are published in; what is wrong with a file is said."""

import itertools
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from experiments.data.aerial import atlanta_halves, refsegrs, risbench, rrsis_d, spacenet
from experiments.data.aerial.coco import Mask, decoded, numbers
from experiments.data.aerial.windows import starts
from experiments.errors import UserError

PHRASES = {"train": ["4 paved road", "5 the building  left of the road"], "test": ["6 light-duty vehicle \r"]}


def picture(number, bands=3):
    return np.random.RandomState(number).randint(0, 256, (10, 12, bands)).astype(np.uint8)


@pytest.fixture
def phrases(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in (4, 5, 6):
        Image.fromarray(picture(number)).save(tmp_path / "images" / f"{number}.tif")
        mask = np.zeros((10, 12), dtype=np.uint8)
        mask[2:5, 3:9] = 1 if number == 5 else 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.tif")
    for part, lines in PHRASES.items():
        (tmp_path / f"output_phrase_{part}.txt").write_text("".join(line + "\n" for line in lines), newline="")
    return tmp_path


def test_refsegrs_and_risbench(phrases):
    found = refsegrs(str(phrases))
    assert [one.expression for one in (*found.train, *found.test)] == [
        "paved road",
        "the building  left of the road",
        "light-duty vehicle",
    ]
    assert [one.relational for one in found.train] == [False, True]
    assert {"paved", "building", "left"} <= {*found.words}
    for number, one in zip((4, 5, 6), (*found.train, *found.test), strict=True):
        assert torch.equal(one.image, torch.from_numpy(picture(number).transpose(2, 0, 1).copy()))
        assert one.mask.sum() == 18 and one.mask[2:5, 3:9].all() and one.share == pytest.approx(18 / 120)
    small = refsegrs(str(phrases), size=6).train[0]
    assert (small.image.shape, small.mask.shape, small.mask.dtype) == ((3, 6, 6), (6, 6), torch.bool)
    (phrases / "images").rename(phrases / "img_rgb")
    assert risbench(str(phrases)).test[0].expression == "light-duty vehicle"


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda r: (r / "output_phrase_train.txt").write_text("4 road\n5\n"), r"train\.txt, line 2, is not a name"),
        (lambda r: (r / "output_phrase_test.txt").unlink(), r"output_phrase_test\.txt is missing"),
        (lambda r: (r / "masks" / "5.tif").unlink(), r"line 2, needs .*5\.tif, which is not there"),
        (lambda r: (r / "output_phrase_train.txt").write_text(""), "no expressions of its split 'train'"),
        (lambda r: (r / "masks").rename(r / "other"), "holds no folder masks or mask"),
    ],
)
def test_what_is_wrong_with_phrases_is_said(damage, match, phrases):
    damage(phrases)
    with pytest.raises(UserError, match=match):
        refsegrs(str(phrases))


def test_what_is_wrong_with_images_and_settings_is_said(phrases):
    (phrases / "images" / "4.tif").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"4\.tif cannot be read as an image"):
        refsegrs(str(phrases)).train[0]
    Image.fromarray(picture(4)[:5]).save(phrases / "images" / "5.tif")
    with pytest.raises(UserError, match="another size than its mask"):
        refsegrs(str(phrases)).train[1]
    for given, match in (({"split": "x"}, "val or test, not 'x'"), ({"size": 0}, r"data\.size must be")):
        with pytest.raises(UserError, match=match):
            refsegrs(str(phrases), **given)
    with pytest.raises(UserError, match=r"data\.root=None is no folder"):
        refsegrs(None)


def packed(runs):
    """COCO's text for runs, written from its description: the inverse of `numbers`."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def runs_of(mask):
    flat = np.concatenate(([0], mask.T.ravel().astype(int), [0]))
    edges = np.flatnonzero(np.diff(flat))
    return np.diff(np.concatenate(([0], edges, [mask.size]))).tolist()


def test_packed_runs_of_masks():
    """By hand, with runs that grow and shrink, and by an encoder."""
    assert numbers("52203") == [5, 2, 2, 2, 5]
    random = np.random.RandomState(0)
    for _ in range(30):
        mask = random.rand(31, 47) < random.rand()
        runs = runs_of(mask)
        assert numbers(packed(runs)) == runs
        for counts in (runs, packed(runs)):
            part = {"size": [31, 47], "counts": counts}
            assert torch.equal(decoded(Mask(31, 47, (part,), "x"), None), torch.from_numpy(mask))


@pytest.fixture
def rrsisd(tmp_path):
    images = tmp_path / "images" / "rrsisd" / "JPEGImages"
    images.mkdir(parents=True)
    (tmp_path / "rrsisd").mkdir()
    mask = np.zeros((10, 12), dtype=bool)
    mask[1:4, 2:8] = True
    shapes = [[{"size": [10, 12], "counts": packed(runs_of(mask))}], [[2, 1, 8, 1, 8, 4, 2, 4]]]
    annotations = [{"id": n, "image_id": n, "segmentation": shape} for n, shape in enumerate(shapes)]
    sizes = [{"id": n, "height": 10, "width": 12, "file_name": f"{n}.jpg"} for n in range(2)]
    whole = {"images": sizes, "annotations": annotations, "categories": []}
    (tmp_path / "rrsisd" / "instances.json").write_text(json.dumps(whole))
    refs = [
        {"ref_id": n, "ann_id": n, "split": split, "file_name": f"{n}.jpg", "sentences": [{"sent": f"ship {n}"}]}
        for n, split in enumerate(("train", "test"))
    ]
    (tmp_path / "rrsisd" / "refs(unc).p").write_bytes(pickle.dumps(refs))
    for number in range(2):
        Image.fromarray(picture(number)).save(images / f"{number}.jpg")
    return tmp_path, torch.from_numpy(mask), refs


def test_rrsis_d(rrsisd):
    root, mask, _ = rrsisd
    found = rrsis_d(str(root))
    assert [one.expression for one in (*found.train, *found.test)] == ["ship 0", "ship 1"]
    assert all(torch.equal(one.mask, mask) for one in (*found.train, *found.test))
    assert rrsis_d(str(root), size=5).train[0].mask.shape == (5, 5)


def test_what_is_wrong_with_references_is_said(rrsisd):
    root, _, refs = rrsisd
    path = root / "rrsisd" / "refs(unc).p"
    for content, match in (
        (pickle.dumps([*refs, {"ann_id": 1}]), r"entry 2, is no reference"),
        (pickle.dumps([refs[0] | {"ann_id": 9}]), r"entry 0, has the annotation 9"),
        (pickle.dumps([refs[0] | {"file_name": "none.jpg"}]), r"entry 0, needs .*none\.jpg"),
        (pickle.dumps(print), r"no plain pickle \(it names builtins\.print\)"),
        (b"nothing", "damaged or no plain pickle"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=match):
            rrsis_d(str(root))
    path.write_bytes(pickle.dumps(refs))
    instances = root / "rrsisd" / "instances.json"
    whole = json.loads(instances.read_text())
    whole["annotations"][0]["segmentation"] = [{"size": [10, 12], "counts": [3, 4]}]
    instances.write_text(json.dumps(whole))
    with pytest.raises(UserError, match="annotation 0, has a mask that is not of COCO's form"):
        rrsis_d(str(root)).train[0]
    del whole["annotations"][1]["segmentation"]
    instances.write_text(json.dumps(whole))
    with pytest.raises(UserError, match="annotation 1, lacks a part"):
        rrsis_d(str(root))


SQUARE = [[20, 10], [40, 10], [40, 30], [20, 30], [20, 10]]
HOLE = [[25, 15], [30, 15], [30, 20], [25, 20], [25, 15]]


def geotiff(path, number, scale=0.5, x=1000.0, y=5000.0):
    pixels = np.random.RandomState(number).randint(200, 1800, (64, 80)).astype(np.uint16)
    tags = ImageFileDirectory_v2()
    tags[33550], tags[33922] = (scale, scale, 0.0), (0.0, 0.0, 0.0, x, y, 0.0)
    tags.tagtype[33550] = tags.tagtype[33922] = 12
    Image.fromarray(pixels).save(path, tiffinfo=tags)
    return pixels


@pytest.fixture
def city(tmp_path):
    """Ten images: five with a building that has a hole, and five without one."""
    (tmp_path / "PAN").mkdir()
    for number in range(10):
        geotiff(tmp_path / "PAN" / f"PAN_AOI_1_img{number}.tif", number)
    return tmp_path


def wkt(ring):
    return "(" + ",".join(f"{x} {y} 0" for x, y in ring) + ")"


def write_table(city, extra=()):
    lines = ["ImageId,BuildingId,PolygonWKT_Pix,PolygonWKT_Geo"]
    for number in range(10):
        text = f"POLYGON ({wkt(SQUARE)},{wkt(HOLE)})" if number % 2 else "POLYGON EMPTY"
        lines.append(f'AOI_1_img{number},1,"{text}","POLYGON EMPTY"')
    (city / "summaryData").mkdir(exist_ok=True)
    (city / "summaryData" / "solutions.csv").write_text("\n".join([*lines, *extra]) + "\n")


def write_features(city):
    folder = city / "geojson" / "buildings"
    folder.mkdir(parents=True)
    for number in range(10):
        rings = [[[1000 + x / 2, 5000 - y / 2, 0] for x, y in ring] for ring in (SQUARE, HOLE)]
        shape = {"type": "Polygon", "coordinates": rings}
        features = [{"type": "Feature", "properties": {}, "geometry": shape}] * (number % 2)
        whole = {"type": "FeatureCollection", "features": features}
        (folder / f"buildings_AOI_1_img{number}.geojson").write_text(json.dumps(whole))


@pytest.mark.parametrize("write", [write_table, write_features])
def test_spacenet(write, city):
    """The same from the table as from the map; windows cover an image, the last ones overlap."""
    write(city)
    found = spacenet(str(city), size=64, held_out=0.5)
    scenes = [*found.train, *found.test]
    assert len(scenes) == 20
    assert sum(len(scene.things) for scene in scenes) == 10  # both windows of five images
    masks = {int(scene.mask(0).sum()) for scene in scenes if scene.things}
    assert masks == {20 * 20 - 25}
    assert all(scene.image.dtype == torch.uint8 and scene.image.shape == (1, 64, 64) for scene in scenes)
    assert min(scene.image.min() for scene in scenes) == 0 and max(scene.image.max() for scene in scenes) == 255


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('AOI_1_img0,2,"POLYGON ((1 2, 3))",', r"line 12, has no polygon but 'POLYGON \(\(1 2, 3\)\)'"),
        ('AOI_1_img77,2,"POLYGON EMPTY",', r"line 12, names AOI_1_img77, of which there is no image"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(line, match, city):
    write_table(city, [line])
    with pytest.raises(UserError, match=match):
        spacenet(str(city), size=64, held_out=0.5)


def test_what_is_wrong_with_a_city_is_said(city):
    with pytest.raises(UserError, match=r"neither summaryData/\*\.csv nor"):
        spacenet(str(city))
    with pytest.raises(UserError, match=r"holds no images \*\.tif"):
        spacenet(str(city), images="MUL")
    write_features(city)
    with pytest.raises(UserError, match="leaves none for one of two parts"):
        spacenet(str(city), held_out=0)
    with pytest.raises(UserError, match=r"64 x 80 pixels, less than data\.size=65"):
        spacenet(str(city), size=65, held_out=0.5)
    Image.fromarray(np.zeros((64, 80), dtype=np.uint8)).save(city / "PAN" / "PAN_AOI_1_img1.tif")
    with pytest.raises(UserError, match="does not say where it lies on the map"):
        spacenet(str(city), size=64, held_out=0.5)
    (city / "geojson" / "buildings" / "buildings_AOI_1_img0.geojson").write_text("[")
    with pytest.raises(UserError, match=r"img0\.geojson is no GeoJSON"):
        spacenet(str(city), size=64, held_out=0.5)


def test_halves_of_the_tile_of_atlanta():
    data = atlanta_halves(96, 1.0)
    assert len(data.train) > len(data.test)
    assert all(scene.image.shape == (1, 96, 96) for scene in data.test)
    assert len(data.others["east"][0].things) == 20
    with pytest.raises(UserError, match="more than the 112 pixels of half a tile"):
        atlanta_halves(128, 2.0)


def test_windows_cover_everything():
    assert starts(96, 96, 48) == [0]
    for extent, size, step in ((100, 30, 30), (225, 96, 48), (97, 96, 96)):
        found = starts(extent, size, step)
        assert (found[0], found[-1]) == (0, extent - size)
        assert all(0 < after - before <= step for before, after in itertools.pairwise(found))
