"""Omniglot's handwritten characters in 28 x 28 pixels, as the literature on discrete VAEs trains on them."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.data.download import ANEW, locate
from experiments.data.images import Images
from experiments.errors import UserError

FILE = "chardata.mat"
SIDE = 28


def omniglot(
    blob: str,
    root: str | None = None,
    url: str | None = None,
    cache: str | None = None,
    held_out: int = 0,
) -> Images:
    """Load the 24,345 training and 8,070 test images of Burda, Grosse, Salakhutdinov 2016 (arXiv 1509.00519).

    They made them from the drawings of Lake et al. 2015, grey and smaller; papers hold out the last 1,345 to train on.

    Args:
        blob: the file's name in git, a hash of its content.
        root: a folder that holds chardata.mat; nothing is downloaded then.
        url: of the folder where it is to be had, with a slash at the end.
        cache: a folder for what was downloaded.
        held_out: so many of the last training images take the place of the test images.

    Raises:
        UserError: that names the file and the remedy, where it is missing, cut off or not what it should be.
    """
    path = locate("omniglot", (FILE,), root, url, cache, partial(_verified, blob=blob))
    try:
        train, test = _decode(path, blob)
    except UserError as error:
        raise UserError(f"{error}; {ANEW}") from error
    return Images("omniglot", train, test, (SIDE, SIDE)).holding_out(held_out)


def git_blob(content: bytes) -> str:
    """What git calls a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _verified(path: Path, blob: str) -> None:
    found = git_blob(path.read_bytes())
    if found != blob:
        raise UserError(f"{path} is cut off or not the file it should be: git names its content {found}, not {blob}")


def _decode(path: Path, blob: str) -> tuple[Tensor, Tensor]:
    """Training and test images, `[N, 784]`."""
    from scipy.io import loadmat  # takes long to import

    _verified(path, blob)  # before anything is parsed
    try:
        content = loadmat(path, variable_names=("data", "testdata"))
    except Exception as error:  # of many kinds
        raise UserError(f"{path} is not a file of MATLAB that scipy can read ({error})") from error
    parts = [content.get(name) for name in ("data", "testdata")]
    if any(part is None or part.ndim != 2 or len(part) != SIDE**2 for part in parts):
        raise UserError(f"{path} does not hold data and testdata with {SIDE**2} pixels a column")
    return _upright(parts[0]), _upright(parts[1])


def _upright(columns: Any) -> Tensor:
    """Each column is an image, and each image is stored column by column."""
    images = torch.from_numpy(columns.T).float().reshape(-1, SIDE, SIDE)
    return images.transpose(1, 2).flatten(1).clamp(0, 1)  # what rounding has left outside
