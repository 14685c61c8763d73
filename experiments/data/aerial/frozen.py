"""What is rendered stays what it was: a digest of samples stands in the configuration of each data set."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from experiments.data.aerial.scenes import Scene
from experiments.errors import UserError


def require_frozen(name: str, digest: str | None, samples: Callable[[], Iterable[bytes]]) -> None:
    """Refuse code that renders other scenes than figures were measured on.

    The digest is the same on every machine: pixels and outlines are computed in integers, from a generator of numbers
    that numpy has promised not to change. Boxes, which are floating-point numbers, are not in it.

    Args:
        name: of the data set.
        digest: the first 16 digits of the samples' SHA-256; None: nothing is checked.
        samples: makes what the code renders; asked once, and only where there is a digest.

    Raises:
        UserError: that says both digests.
    """
    if digest is None:
        return
    found = digest_of(samples)
    if found != digest:
        raise UserError(
            f"data={name} renders other scenes than those of data.digest={digest}: its code has changed; restore it, "
            f"or give data.digest={found} and compare with no figures from before."
        )


@functools.cache
def digest_of(samples: Callable[[], Iterable[bytes]]) -> str:
    """The first 16 digits of the SHA-256 of samples, each with its length."""
    state = hashlib.sha256()
    for sample in samples():
        state.update(len(sample).to_bytes(8, "little") + sample)
    return state.hexdigest()[:16]


def sampled(scene: Scene) -> Iterator[bytes]:
    """Of a scene: its pixels, and kinds, blocks and outlines of what is on it."""
    yield scene.image.numpy().tobytes()
    for thing in (*scene.things, *scene.clutter):
        outline = np.round(thing.polygon.double().numpy() * 16).astype("<i8")
        yield f"{thing.kind} {thing.block}".encode() + outline.tobytes()
