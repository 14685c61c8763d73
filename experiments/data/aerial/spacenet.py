"""Buildings of SpaceNet in the files that it publishes: images as GeoTIFF, outlines as GeoJSON or in a table."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.data.aerial.lazy import Lazy
from experiments.data.aerial.published import pixels_of
from experiments.data.aerial.scenes import Aerial, Scene, Thing
from experiments.data.aerial.shipped import ring
from experiments.data.aerial.windows import starts
from experiments.data.records import folder_of
from experiments.errors import UserError, require_count, require_number

COLUMNS = ("ImageId", "PolygonWKT_Pix")
POINTS = re.compile(r"-?[\d.]+(?:e-?\d+)? -?[\d.]+(?:e-?\d+)?(?: -?[\d.]+(?:e-?\d+)?)?")
WKT = re.compile(r"POLYGON(?: Z)? (?:EMPTY|\(\((.*)\)\))")
SCALE, CORNER = 33550, 33922
"""GeoTIFF's tags: the size of a pixel, and a point of the image with its place on the map."""
DARKEST, BRIGHTEST = 0.02, 0.98
"""Quantiles of an image of 16 bits that become black and white."""


class Tile(NamedTuple):
    """An image and the outlines of its buildings, `[P, 2]` in pixels."""

    path: Path
    outlines: tuple[tuple[Tensor, ...], ...]
    """Of each building: the outline, and those of its holes."""


def spacenet(root: str | None, images: str = "PAN", size: int = 96, held_out: float = 0.2) -> Aerial:
    """A city of SpaceNet 2 or 4 (arXiv 1807.01232, 1903.12239), cut into windows.

    Outlines are those of the table in summaryData/ whose columns ImageId and PolygonWKT_Pix have them in pixels; or,
    where there is none, those of geojson/buildings/ or geojson/spacenet-buildings/, which are brought to pixels by the
    size and corner that the images' own tags give. Outlines without an area are left out. Images of 16 bits are
    stretched to 8, from 2 to 98 % of their pixels.

    Args:
        root: the folder with the images' folder and the outlines.
        images: the folder with images, whose names end with the table's, or with what outlines' names end with.
        size: of a window, in pixels, at most that of the images.
        held_out: the share of images to judge by, chosen by the hash of their names.

    Raises:
        UserError: where something is missing, or a line is not of that form.
    """
    folder = folder_of(root)
    require_count("data.size", size, 16)
    require_number("data.held_out", held_out, least=0, below=1)
    paths = {path.stem.removeprefix(f"{images}_"): path for path in sorted((folder / images).glob("*.tif"))}
    if not paths:
        raise UserError(f"{folder / images} holds no images *.tif; name the folder by data.images=FOLDER.")
    tables = sorted((folder / "summaryData").glob("*.csv"))
    tiles = _table(tables[0], paths) if tables else _outlined(folder, paths)
    learned = [tile for tile in tiles if _draw(tile.path.stem) >= held_out]
    judged = [tile for tile in tiles if _draw(tile.path.stem) < held_out]
    if not learned or not judged:
        raise UserError(f"data.held_out={held_out} of {len(tiles)} images leaves none for one of two parts.")
    return Aerial(f"SpaceNet, {folder.name}", float("nan"), _windows(learned, size), _windows(judged, size), {})


def _draw(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def _windows(tiles: Sequence[Tile], size: int) -> Lazy[Scene]:
    places = []
    for tile in tiles:
        height, width = _size(tile.path)
        if min(height, width) < size:
            raise UserError(f"{tile.path} has {height} x {width} pixels, less than data.size={size}; use less.")
        places += [(tile, top, left) for top in starts(height, size, size) for left in starts(width, size, size)]

    def make(index: int) -> Scene:
        tile, top, left = places[index]
        things = [thing for rings in tile.outlines if (thing := _building(rings)) is not None]
        return Scene(_pixels(tile.path), tuple(things)).crop(top, left, size, size)

    return Lazy(len(places), make)


def _building(rings: tuple[Tensor, ...]) -> Thing | None:
    try:
        return Thing.of("building", rings[0], rest=rings[1:])
    except ValueError:  # without an area
        return None


@functools.lru_cache(maxsize=16)
def _pixels(path: Path) -> Tensor:
    """Uint8 `[1, H, W]`."""
    found = pixels_of(path, None, None)
    if found.dtype == torch.uint8:
        return found
    ordered = found.flatten().sort().values
    dark, bright = (int(ordered[int(share * (len(ordered) - 1))]) for share in (DARKEST, BRIGHTEST))
    return ((found - dark).clamp(min=0) * 255 // max(1, bright - dark)).clamp(max=255).to(torch.uint8)


def _table(path: Path, images: dict[str, Path]) -> list[Tile]:
    """Outlines in pixels, a building a line; an image without one has the line POLYGON EMPTY."""
    found: dict[str, list[tuple[Tensor, ...]]] = {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise UserError(f"{path} has no column {missing[0]}; restore it.")
        for row in rows:
            name, text = (row[column] or "" for column in COLUMNS)
            name = name.removeprefix("Pan-Sharpen_")
            outline = WKT.fullmatch(text)
            rings = [_ring(part) for part in outline[1].split("),(")] if outline and outline[1] else []
            if outline is None or any(part is None for part in rings):
                raise UserError(f"{path}, line {rows.line_num}, has no polygon but {text[:40]!r}; mend it.")
            if name not in images:
                raise UserError(f"{path}, line {rows.line_num}, names {name}, of which there is no image; restore it.")
            own = found.setdefault(name, [])
            if rings:
                own.append(tuple(part for part in rings if part is not None))
    return [Tile(images[name], tuple(outlines)) for name, outlines in found.items()]


def _ring(text: str) -> Tensor | None:
    points = [point.strip() for point in text.split(",")]
    if len(points) < 4 or not all(POINTS.fullmatch(point) for point in points):
        return None
    return ring([[float(number) for number in point.split()[:2]] for point in points])


def _outlined(folder: Path, images: dict[str, Path]) -> list[Tile]:
    """Outlines on the map, a file an image."""
    places = [folder / "geojson" / name for name in ("buildings", "spacenet-buildings")]
    files = sorted(path for place in places for path in place.glob("*.geojson"))
    if not files:
        raise UserError(f"{folder} holds neither summaryData/*.csv nor {places[0]}/*.geojson; restore them.")
    tiles = []
    for path in files:
        name = path.stem.split("buildings_", 1)[-1]
        image = next((own for stem, own in images.items() if stem == name or stem.endswith(f"_{name}")), None)
        if image is None:
            raise UserError(f"{path} has outlines of {name}, of which there is no image; restore it.")
        tiles.append(Tile(image, tuple(_features(path, _on_map(image)))))
    return tiles


def _features(path: Path, placed: Callable[[list[list[float]]], list[list[float]]]) -> list[tuple[Tensor, ...]]:
    """All polygons of a file, in pixels."""
    try:
        features = json.loads(path.read_bytes())["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no GeoJSON with features ({error!r}); restore it.") from error
    found = []
    for number, feature in enumerate(features):
        try:
            shape = feature["geometry"]
            polygons = {"Polygon": [shape["coordinates"]], "MultiPolygon": shape["coordinates"]}[shape["type"]]
            found += [tuple(ring(placed(part)) for part in polygon) for polygon in polygons if polygon]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"{path}, feature {number}, is no polygon ({error!r}); mend it.") from error
    return found


def _on_map(image: Path) -> Callable[[list[list[float]]], list[list[float]]]:
    """From places on the map to pixels of an image."""
    tags = _tags(image)
    try:
        across, down = tags[SCALE][:2]
        column, row, _, x, y = tags[CORNER][:5]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{image} does not say where it lies on the map (GeoTIFF's tags); restore it.") from error
    return lambda points: [[column + (p[0] - x) / across, row + (y - p[1]) / down] for p in points]


def _tags(image: Path) -> Any:
    from PIL import Image

    with Image.open(image) as file:
        return dict(getattr(file, "tag_v2", {}))


def _size(image: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(image) as file:
            return file.height, file.width
    except OSError as error:
        raise UserError(f"{image} cannot be read as an image ({error}); restore it.") from error
