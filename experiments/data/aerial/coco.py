"""Masks and references as COCO and RefCOCO publish them: runs of pixels, outlines, and a pickle of expressions."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.data.aerial.geometry import FULL, UNIT, coverage
from experiments.errors import UserError


class Mask(NamedTuple):
    """As it is published."""

    height: int
    width: int
    parts: tuple[Any, ...]
    """Each is the x and y of an outline in turn, or {"size", "counts"}: runs of pixels, column by column, outside and
    inside by turns; as numbers, or as text, in which each number follows from the last but two and from five bits a
    character."""
    where: str
    """In which file, for refusals."""


class Reference(NamedTuple):
    """Expressions for an annotation."""

    annotation: int
    split: str
    file: str
    expressions: tuple[str, ...]


def instances(path: Path) -> dict[int, Mask]:
    """All annotations of a file of COCO's form, by their numbers.

    Raises:
        UserError: where it cannot be read, or one of them lacks a part.
    """
    try:
        found = json.loads(path.read_bytes())
        sizes = {image["id"]: (int(image["height"]), int(image["width"])) for image in found["images"]}
        annotations = list(found["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is missing or not of COCO's form ({error!r}); restore it.") from error
    masks = {}
    for number, annotation in enumerate(annotations):
        where = f"{path}, annotation {number},"
        try:
            outlines = annotation["segmentation"]
            parts = tuple(outlines) if isinstance(outlines, list) else (outlines,)
            masks[int(annotation["id"])] = Mask(*sizes[annotation["image_id"]], parts, where)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where} lacks a part or has one that is unknown ({error!r}); restore it.") from error
    return masks


def references(path: Path) -> list[Reference]:
    """The references of a pickle of RefCOCO's form, which is read without running anything that it names.

    Raises:
        UserError: where it cannot be read, names a class or a function, or a reference lacks a part.
    """
    try:
        with open(path, "rb") as file:
            found = _Plain(file).load()
    except (OSError, EOFError, pickle.UnpicklingError, ValueError, IndexError) as error:
        raise UserError(f"{path} is missing, damaged or no plain pickle ({error}); restore it.") from error
    made = []
    for number, one in enumerate(found if isinstance(found, list) else [None]):
        try:
            texts = tuple(str(sentence["sent"]).strip() for sentence in one["sentences"])
            made.append(Reference(int(one["ann_id"]), str(one["split"]), str(one["file_name"]), texts))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, entry {number}, is no reference ({error!r}); restore it.") from error
    return made


def decoded(mask: Mask, size: int | None) -> Tensor:
    """The pixels of a mask, bool `[H, W]`; resized to `size` x `size` by repeating pixels or leaving them out.

    Raises:
        UserError: where it is not of COCO's form.
    """
    found = np.zeros((mask.height, mask.width), dtype=bool)
    for part in mask.parts:
        try:
            found |= _runs(part, mask) if isinstance(part, dict) else _filled(part, mask)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"{mask.where} has a mask that is not of COCO's form ({error}); restore it.") from error
    if size is not None:
        rows, columns = ((2 * np.arange(size) + 1) * extent // (2 * size) for extent in found.shape)
        found = found[rows][:, columns]
    return torch.from_numpy(found)


def _runs(part: dict[str, Any], mask: Mask) -> Any:
    counts = part["counts"]
    lengths = counts if isinstance(counts, list) else numbers(counts)
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    if len(inside) != mask.height * mask.width or list(part["size"]) != [mask.height, mask.width]:
        raise ValueError(f"{len(inside)} pixels for an image of {mask.height} x {mask.width}")
    return inside.reshape(mask.width, mask.height).T


def _filled(part: Any, mask: Mask) -> Any:
    outline = np.round(np.array(part, dtype=np.float64).reshape(-1, 2) * UNIT).astype(np.int64)
    found = np.zeros((mask.height, mask.width), dtype=bool)
    patch = coverage(outline, mask.height, mask.width)
    if patch is not None:
        found[patch.rows, patch.columns] = patch.covered >= FULL // 2
    return found


def numbers(text: str | bytes) -> list[int]:
    """The numbers of COCO's packed runs: five bits a character from "0" on, the sixth says that more follow."""
    found: list[int] = []
    value = shift = 0
    for code in text.encode() if isinstance(text, str) else text:
        bits = code - ord("0")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return found


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")
