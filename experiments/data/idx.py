"""MNIST and its relatives: files in the idx format, checked by a hash of their content."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from experiments.data.download import ANEW, locate
from experiments.data.images import Images
from experiments.engine.errors import UserError

HERE = Path(__file__).parent
GZIP = b"\x1f\x8b"
IMAGES = 0x00000803
"""The idx format's number for three dimensions of unsigned bytes."""


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


def idx_images(
    name: str,
    train: File,
    test: File,
    root: str | None = None,
    url: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
) -> Images:
    """Load a data set from a folder, or else from the cache, which is filled by a download.

    Args:
        name: of the data set.
        train, test: its files.
        root: a folder that holds them, plain or gzipped; nothing is downloaded then.
        url: where they are to be had, gzipped.
        cache: a folder for what was downloaded; each data set has a folder of its name in it.
        held_out: so many of the last training images take the place of the test images.

    Raises:
        UserError: that names the file and the remedy, where one is missing, cut off or not what it should be.
    """
    parts = []
    for file in (train, test):
        names, check = (file.name, f"{file.name}.gz"), partial(_decode, sha256=file.sha256)
        parts.append(read_idx(locate(name, names, root, url, cache, check), file.sha256))
    height, width = parts[0].shape[1:]
    pixels = [part.flatten(1).float() / 255 for part in parts]
    return Images(name, pixels[0], pixels[1], (height, width)).holding_out(held_out)


def mnist_subset(held_out: int = 0) -> Images:
    """Every sixth training and every fifth test image of MNIST, shipped with the experiments: 10,000 and 2,000."""
    return idx_images("mnist_subset", *SUBSET, root=str(HERE / "mnist_subset"), held_out=held_out)


def read_idx(path: Path, sha256: str) -> Tensor:
    """Read uint8 images `[N, height, width]`, checking the content.

    Raises:
        UserError: where the file is cut off, is no idx file of images, or has another hash.
    """
    try:
        return _decode(path, sha256)
    except UserError as error:
        raise UserError(f"{error}; {ANEW}") from error


def _decode(path: Path, sha256: str) -> Tensor:
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            content = gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is damaged or cut off ({error})") from error
    if len(content) < 16 or struct.unpack(">I", content[:4])[0] != IMAGES:
        raise UserError(f"{path} is not an idx file of images")
    count, height, width = struct.unpack(">III", content[4:16])
    if len(content) != 16 + count * height * width:
        raise UserError(f"{path} says it holds {count} images but has another size")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file it should be: its content has another SHA-256 than {sha256}")
    return torch.frombuffer(bytearray(content[16:]), dtype=torch.uint8).reshape(count, height, width)


def write_idx(path: Path, images: Tensor) -> str:
    """Write uint8 images `[N, height, width]` as a gzipped idx file, the same bytes every time; return the SHA-256."""
    content = struct.pack(">IIII", IMAGES, *images.shape) + images.contiguous().numpy().tobytes()
    path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
    return hashlib.sha256(content).hexdigest()
