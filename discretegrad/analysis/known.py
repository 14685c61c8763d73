"""What a few calls of f tell of it: above all whether replicates of a gradient can share one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MIXED = 2**-6
"""The most by which values may depend on others in their call, beside rounding of their own, as a share of the values'
standard deviation: more than rounding in bfloat16 within f does, and so little that no variance changes by more than a
few percent."""


class Known(NamedTuple):
    """What is known of f."""

    alone: str | None = None
    """Why replicates cannot share a call of f; None where they can."""
    differentiates: bool = False
    """Whether f works only with gradients enabled, as one that takes a gradient of its own."""
    mixes: bool = False
    """Whether a value depends on the other points of its call: then there is no E f, and nothing is unbiased."""

    def values(self, f: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Of f, without a graph."""
        with torch.set_grad_enabled(self.differentiates):
            values = f(inputs)
        return values.detach() if isinstance(values, Tensor) else values


MIXES = "f mixes the points of a call, as batch normalisation does in training: a value depends on others"

NOTHING_UNBIASED = (
    f"{MIXES}, so there is no E f(z) to speak of, and no estimator is unbiased. None is recommended; put f into "
    "eval(), or let it normalise every point by itself."
)

UNKNOWN = Known()
"""What is taken for granted without a look."""


def look(f: Callable[[Tensor], Tensor], own: Tensor, others: Tensor) -> Known:
    """From three calls of f, or four.

    What a random f draws once a call is common to all in it, and what mixes the points of a call, as batch
    normalisation does in training, makes them depend on each other.

    Args:
        f: of points, or ids.
        own: `[S, ...]`, what f may be called with.
        others: the same, different.
    """
    for known in (UNKNOWN, Known(differentiates=True)):
        try:
            alone = known.values(f, own)
            # Twice: where f makes few different values, a mean over one of the calls may be what it was by chance.
            for more in (others[:1], others):
                among = known.values(f, torch.cat((own, more)))
                if _differ(alone, among[: len(own)], among):
                    break
            else:
                return known
            if _differ(alone, known.values(f, own), among):
                shape = tuple(alone.shape)
                return known._replace(
                    alone=f"f is random: two calls at the same points, values of shape {shape}, differ"
                )
            return known._replace(alone=MIXES, mixes=True)
        except Exception as error:
            found = error
    return Known(f"f fails at {len(own)} points, or at {len(own) + len(others)} in a call ({sentence(found)})")


def sentence(error: Exception) -> str:
    """What went wrong, in one line; with the error's type, unless it is a whole sentence as ours are."""
    text = " ".join(str(error).split())
    if isinstance(error, TypeError | ValueError) and text.endswith("."):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _differ(one: Tensor, other: Tensor, among: Tensor) -> bool:
    """By more than rounding, which may depend on the size of a call."""
    if one.shape != other.shape:
        return True
    rounding = 8 * torch.finfo(one.dtype).eps
    one, other, among = (values.double().nan_to_num(0.0, 0.0, 0.0) for values in (one, other, among))  # of padding
    spread = (among - among.mean(0)).square().mean().sqrt()
    return bool((one - other).abs().amax() > MIXED * spread + rounding * among.abs().amax())
