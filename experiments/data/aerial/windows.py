"""Large scenes cut into windows."""

from __future__ import annotations

from experiments.data.aerial.lazy import Lazy
from experiments.data.aerial.scenes import Aerial, Scene, require_pixel_size
from experiments.data.aerial.shipped import ATLANTA_PIXEL, atlanta, resized
from experiments.errors import UserError, require_count


def starts(extent: int, size: int, step: int) -> list[int]:
    """Where windows of a size begin, evenly spaced and at most `step` apart, so that together they cover the extent."""
    count = -(-(extent - size) // step)
    return [0] if count == 0 else [(extent - size) * place // count for place in range(count + 1)]


def windows(scene: Scene, size: int, step: int) -> Lazy[Scene]:
    """The windows of `size` x `size` pixels of a scene that is at least as large, row by row."""
    height, width = scene.image.shape[1:]
    corners = [(top, left) for top in starts(height, size, step) for left in starts(width, size, step)]
    return Lazy(len(corners), lambda index: scene.crop(*corners[index], size, size))


def atlanta_halves(size: int = 96, pixel_size: float = 1.0) -> Aerial:
    """The real tile of SpaceNet 4: windows of its western half to train on, and of its eastern half to judge by.

    Windows to train on overlap by half. `others` has "east", the half as one scene.

    Args:
        size: of a window, in pixels.
        pixel_size: in metres: 0.5, 1 or 2.

    Raises:
        UserError: where a half has no such window.
    """
    require_count("data.size", size, 16)
    require_pixel_size(pixel_size)
    factor = round(pixel_size / ATLANTA_PIXEL)
    halves = [resized(atlanta().crop(0, left, 900, 450 // factor * factor), factor) for left in (0, 450)]
    widest = halves[0].image.shape[2]
    if size > widest:
        raise UserError(f"data.size={size} is more than the {widest} pixels of half a tile; use less.")
    train, test = windows(halves[0], size, size // 2), windows(halves[1], size, size)
    return Aerial("SpaceNet 4, Atlanta", float(pixel_size), train, test, {"east": [halves[1]]})
