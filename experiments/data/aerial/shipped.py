"""The real images and outlines that the experiments ship: a tile of SpaceNet 4, and a scene of Sentinel-2."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.data.aerial.scenes import Scene, Thing
from experiments.errors import UserError

FOLDER = Path(__file__).parents[1] / "remote_sensing"
SHA256 = {
    "sentinel2_objects.json": "a4411cc401ae4001fdcfb25fcd3af711d4e4fc913341cb277ce1fc6a14063966",
    "sentinel2_scene.png": "5fbc7a604260a07a692c429331613cb9c0181f6bde1107448ece5440464ac4b7",
    "spacenet4_atlanta_buildings.json": "5e9f8d6b7276e54106ebcb5baf3efa212d0144c3a3871c49ac5494ad5471dfbc",
    "spacenet4_atlanta_layouts.json": "1c3677895741132bef6e8adfc59354317ad3a146ae46362b5c02cf8afee1fa59",
    "spacenet4_atlanta_tile.png": "28d55fd02d23e9e525cb353f34a0f4616e49ea14541b98e26858b2789c141b9b",
}
ATLANTA_PIXEL = 0.5
"""In metres."""
SENTINEL_PIXEL = 10.0


@functools.cache
def atlanta() -> Scene:
    """900 x 900 grey pixels of half a metre near Atlanta, with the outlines of 43 buildings, from SpaceNet 4."""
    outlines = json.loads(_content("spacenet4_atlanta_buildings.json"))["polygons"]
    return Scene(_image("spacenet4_atlanta_tile.png"), tuple(Thing.of("building", ring(o)) for o in outlines))


@functools.cache
def atlanta_layouts() -> tuple[tuple[Tensor, ...], ...]:
    """The outlines `[P, 2]` of the buildings on 33 more tiles of 900 x 900 pixels, from north to south."""
    tiles = json.loads(_content("spacenet4_atlanta_layouts.json"))
    northing = {name: int(name.rpartition("_")[2]) for name in tiles}
    order = sorted(tiles, key=lambda name: -northing[name])
    return tuple(tuple(ring(outline) for outline in tiles[name]) for name in order)


@functools.cache
def sentinel() -> Scene:
    """768 x 1536 pixels of ten metres, red, green and blue, of Sentinel-2, with 604 areas of OpenStreetMap.

    Only a third of the scene is in an area: what lies outside may well be a forest or a field. 17 have a name.
    """
    things = []
    for found in json.loads(_content("sentinel2_objects.json"))["objects"]:
        first, *rest = (ring(outline) for part in found["polygons"] for outline in part)
        things.append(Thing.of(found["class"], first, name=found["name"] or "", rest=tuple(rest)))
    return Scene(_image("sentinel2_scene.png"), tuple(things))


def resized(scene: Scene, factor: int) -> Scene:
    """The scene with pixels so many times as wide: each is the mean of those that it takes up."""
    bands, height, width = scene.image.shape
    parts = scene.image.int().reshape(bands, height // factor, factor, width // factor, factor)
    image = (parts.sum((2, 4)) + factor * factor // 2) // (factor * factor)
    scale = torch.tensor([1.0 / factor] * 4 + [1])
    things = tuple(
        thing._replace(
            polygon=thing.polygon / factor, box=thing.box * scale, rest=tuple(other / factor for other in thing.rest)
        )
        for thing in scene.things
    )
    return Scene(image.to(torch.uint8), things)


def ring(outline: list[list[float]]) -> Tensor:
    """float32 `[P, 2]`, without the first point at the end again."""
    points = outline[:-1] if outline[0] == outline[-1] else outline
    return torch.tensor(points, dtype=torch.float32)


def _image(name: str) -> Tensor:
    """Uint8 `[bands, H, W]`."""
    from PIL import Image  # comes with matplotlib

    pixels = np.array(Image.open(io.BytesIO(_content(name))))
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())


def _content(name: str) -> Any:
    path = FOLDER / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); restore it from the repository, which has it.") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise UserError(f"{path} is not the file it should be; restore it from the repository, which has it.")
    return content
