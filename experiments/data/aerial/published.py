"""Referring expressions in the files that they are published as: RefSegRS, RISBench, RRSIS-D."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from experiments.data.aerial.coco import Mask, decoded, instances, references
from experiments.data.aerial.lazy import Lazy
from experiments.data.aerial.scenes import Referred, Referring
from experiments.data.records import folder_of, lines
from experiments.errors import UserError, require_count

SPLITS = ("train", "val", "test")
SUFFIXES = (".tif", ".png", ".jpg")
RELATIONAL = re.compile(
    r"\b(left|right|top|bottom|north|south|east|west|upper|lower|front|\w+ side) of\b"
    r"|\b(above|below|beneath|under|next to|near|nearest|closest|between|besides?|adjacent|behind|along|around|by)\b"
)
"""Words that relate a thing to another, as the slice of relational expressions takes them."""
LINE = re.compile(r"(\S+)\s+(\S.*?)\s*")


class Entry(NamedTuple):
    """An expression and where its image and its mask are."""

    image: Path
    expression: str
    mask: Path | Mask


def refsegrs(root: str | None, size: int | None = None, split: str = "test") -> Referring:
    """RefSegRS, of Yuan, Mou, Hua, Zhu 2024 (arXiv 2306.08625).

    Args:
        root: the folder with images/, masks/ and output_phrase_train.txt, output_phrase_val.txt and
            output_phrase_test.txt, whose lines have the name of an image and its mask, a blank, and an expression.
        size: pixels to which images and masks are resized, in height and width; None: as they are.
        split: that judges: val or test.

    Raises:
        UserError: where something is missing, or a line is not of that form.
    """
    return _phrases("RefSegRS", root, size, split)


def risbench(root: str | None, size: int | None = None, split: str = "test") -> Referring:
    """RISBench, of Dong et al. 2024 (arXiv 2410.08613), in the same form; see `refsegrs`.

    Its folders may also be called img_rgb/ and mask/.
    """
    return _phrases("RISBench", root, size, split)


def rrsis_d(root: str | None, size: int | None = None, split: str = "test") -> Referring:
    """RRSIS-D, of Liu et al. 2024 (arXiv 2312.12470).

    Args:
        root: the folder with rrsisd/refs(unc).p, rrsisd/instances.json and images/rrsisd/JPEGImages/.
        size, split: see `refsegrs`.

    Raises:
        UserError: where something is missing, or an entry is not of that form.
    """
    folder = folder_of(root)
    _check(size, split)
    masks = instances(folder / "rrsisd" / "instances.json")
    entries: dict[str, list[Entry]] = {name: [] for name in SPLITS}
    path = folder / "rrsisd" / "refs(unc).p"
    for number, found in enumerate(references(path)):
        if found.annotation not in masks or found.split not in entries:
            raise UserError(
                f"{path}, entry {number}, has the annotation {found.annotation} and the split {found.split!r}, one of "
                "which is unknown; restore it."
            )
        image = _there(folder / "images" / "rrsisd" / "JPEGImages" / found.file, path, f"entry {number}")
        entries[found.split] += [Entry(image, text, masks[found.annotation]) for text in found.expressions]
    return _made("RRSIS-D", entries, size, split)


def _phrases(name: str, root: str | None, size: int | None, split: str) -> Referring:
    folder = folder_of(root)
    _check(size, split)
    images, masks = _one_of(folder, "images", "img_rgb"), _one_of(folder, "masks", "mask")
    entries: dict[str, list[Entry]] = {part: [] for part in SPLITS}
    for part in SPLITS:
        path = folder / f"output_phrase_{part}.txt"
        if part not in ("train", split):
            continue
        for number, line in enumerate(lines(path), start=1):
            found = LINE.fullmatch(line.rstrip("\r\n"))
            if found is None:
                raise UserError(f"{path}, line {number}, is not a name, a blank and an expression: {line!r}; mend it.")
            stem, where = found[1], f"line {number}"
            files = [_there(_any(place, stem), path, where) for place in (images, masks)]
            entries[part].append(Entry(files[0], found[2], files[1]))
    return _made(name, entries, size, split)


def _check(size: int | None, split: str) -> None:
    if size is not None:
        require_count("data.size", size)
    if split not in SPLITS[1:]:
        raise UserError(f"data.split is val or test, not {split!r}.")


def _made(name: str, entries: dict[str, list[Entry]], size: int | None, split: str) -> Referring:
    for part in ("train", split):
        if not entries[part]:
            raise UserError(f"{name} has no expressions of its split {part!r} there; restore its files.")
    words = {word for entry in entries["train"] for word in re.findall(r"\w+", entry.expression.lower())}
    train, test = (Lazy(len(entries[part]), _reader(entries[part], size)) for part in ("train", split))
    return Referring(name, train, test, {}, tuple(sorted(words)))


def _reader(entries: Sequence[Entry], size: int | None) -> Callable[[int], Referred]:
    def read(index: int) -> Referred:
        image, expression, place = entries[index]
        pixels = pixels_of(image, size, "RGB")
        mask = pixels_of(place, size, None)[0] if isinstance(place, Path) else decoded(place, size)
        if isinstance(place, Path):
            mask = mask > int(mask.max()) // 5  # published as 0 and 255, or 0 and 1
        if mask.shape != pixels.shape[1:]:
            raise UserError(f"{image} has another size than its mask; restore them.")
        return Referred(pixels, expression, mask, RELATIONAL.search(expression.lower()) is not None)

    return read


def pixels_of(path: Path, size: int | None, mode: str | None) -> Tensor:
    """An image's pixels, `[bands, H, W]`.

    Args:
        path: of the file.
        size: to which it is resized; None: as it is. Without a mode, pixels are repeated or left out.
        mode: Pillow's; None: as it is, its first band alone.

    Raises:
        UserError: where it cannot be read.
    """
    from PIL import Image  # comes with matplotlib

    try:
        with Image.open(path) as file:
            image = file.convert(mode) if mode else file
            if size is not None:
                image = image.resize((size, size), Image.Resampling.BILINEAR if mode else Image.Resampling.NEAREST)
            found = np.array(image)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read as an image ({error}); restore it.") from error
    if found.ndim == 3:
        return torch.from_numpy(found.transpose(2, 0, 1).copy() if mode else found[None, :, :, 0].copy())
    return torch.from_numpy(found[None].astype(np.int32) if found.dtype == np.uint16 else found[None].copy())


def _there(image: Path, path: Path, where: str) -> Path:
    if not image.exists():
        raise UserError(f"{path}, {where}, needs {image}, which is not there; restore it.")
    return image


def _any(folder: Path, stem: str) -> Path:
    return next((p for s in SUFFIXES if (p := folder / f"{stem}{s}").exists()), folder / f"{stem}{SUFFIXES[0]}")


def _one_of(folder: Path, *names: str) -> Path:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None:
        raise UserError(f"{folder} holds no folder {' or '.join(names)}; name the one that does with data.root=FOLDER.")
    return found
