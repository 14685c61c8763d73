"""MNIST and its relatives: files in the idx format, checked by a hash of their content."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.digits import NUMERALS
from experiments.data.download import ANEW, locate
from experiments.data.images import Images, Labels
from experiments.errors import UserError

HERE = Path(__file__).parent
GZIP = b"\x1f\x8b"
IMAGES = 0x00000803
"""The idx format's number for three dimensions of unsigned bytes."""
LABELS = 0x00000801
"""That for one dimension."""
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


class File(NamedTuple):
    """An idx file."""

    name: str
    """Without `.gz`."""
    sha256: str
    """Of the uncompressed content: two gzips of the same images differ."""


SUBSET = (
    File("train-images-idx3-ubyte", "438ba099335a695db401b4cc1a9ebb5e26f3f6800536cda63de250fa022053bd"),
    File("t10k-images-idx3-ubyte", "544b11e980491b35ea0a29d267be603798a522d267bd875eefdf185f2a90b4ed"),
)
"""The shipped training and test images, made by `make_subset.py`."""
LABELLED = {
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db": (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        NUMERALS,
    ),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7": (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        NUMERALS,
    ),
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        CLOTHES,
    ),
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        CLOTHES,
    ),
    "438ba099335a695db401b4cc1a9ebb5e26f3f6800536cda63de250fa022053bd": (
        "cdc933926617e78fa735e9296757e93f869734837ddb53260df98126675ca7c4",
        NUMERALS,
    ),
    "544b11e980491b35ea0a29d267be603798a522d267bd875eefdf185f2a90b4ed": (
        "00c8ee896b56b1f141feedeefecd0ec606a7715b411eb44be7e1b1decd17e3fd",
        NUMERALS,
    ),
}
"""By the SHA-256 of images: that of their labels, and the classes' names."""


def idx_images(
    name: str,
    train: File,
    test: File,
    root: str | None = None,
    url: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
    labels: bool = False,
) -> Images:
    """Load a data set from a folder, or else from the cache, which is filled by a download.

    Args:
        name: of the data set.
        train, test: its files.
        root: a folder that holds them, plain or gzipped; nothing is downloaded then.
        url: where they are to be had, gzipped.
        cache: a folder for what was downloaded; each data set has a folder of its name in it.
        held_out: so many of the last training images take the place of the test images.
        labels: whether to load the files of labels too, which lie beside those of images.

    Raises:
        UserError: that names the file and the remedy, where one is missing, cut off or not what it should be.
    """

    def load(file: File, magic: int = IMAGES) -> Tensor:
        names, check = (file.name, f"{file.name}.gz"), partial(_decode, sha256=file.sha256, magic=magic)
        return read_idx(locate(name, names, root, url, cache, check), file.sha256, magic)

    parts = [load(file) for file in (train, test)]
    height, width = parts[0].shape[1:]
    pixels = [part.flatten(1).float() / 255 for part in parts]
    own = _labels(name, train, test, load) if labels else None
    return Images(name, pixels[0], pixels[1], (height, width), own).holding_out(held_out)


def mnist_subset(held_out: int = 0, labels: bool = False) -> Images:
    """Every sixth training and every fifth test image of MNIST, shipped with the experiments: 10,000 and 2,000."""
    return idx_images("mnist_subset", *SUBSET, root=str(HERE / "mnist_subset"), held_out=held_out, labels=labels)


def labels_of(images: File) -> File:
    """The file of labels beside a file of images.

    Raises:
        UserError: where nobody knows what is on them.
    """
    if images.sha256 not in LABELLED:
        raise UserError(f"{images.name} has no labels that are known here; use data=mnist or data=fashion_mnist.")
    return File(images.name.replace("images-idx3", "labels-idx1"), LABELLED[images.sha256][0])


def read_idx(path: Path, sha256: str, magic: int = IMAGES) -> Tensor:
    """Read uint8 images `[N, height, width]`, or labels `[N]`, checking the content.

    Raises:
        UserError: where the file is cut off, is no idx file of its kind, or has another hash.
    """
    try:
        return _decode(path, sha256, magic)
    except UserError as error:
        raise UserError(f"{error}; {ANEW}") from error


def _labels(name: str, train: File, test: File, load: Callable[[File, int], Tensor]) -> Labels:
    own = [load(labels_of(file), LABELS).long() for file in (train, test)]
    return Labels(own[0], own[1], LABELLED[train.sha256][1])


def _decode(path: Path, sha256: str, magic: int = IMAGES) -> Tensor:
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut off ({error})") from error
    kind = "images" if magic == IMAGES else "labels"
    start = 4 + 4 * (magic % 256)  # the last byte counts the dimensions
    if len(content) < start or struct.unpack(">I", content[:4])[0] != magic:
        raise UserError(f"{path} is not an idx file of {kind}")
    sizes = struct.unpack(f">{magic % 256}I", content[4:start])
    if len(content) != start + math.prod(sizes):
        raise UserError(f"{path} says it holds {sizes[0]} {kind} but has another size")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file it should be: its content has another SHA-256 than {sha256}")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).reshape(sizes)


def write_idx(path: Path, values: Tensor) -> str:
    """Write uint8 images `[N, height, width]`, or labels `[N]`, as a gzipped idx file, and return the SHA-256.

    The same bytes every time.
    """
    head = struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape)
    content = head + values.contiguous().numpy().tobytes()
    path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
    return hashlib.sha256(content).hexdigest()
