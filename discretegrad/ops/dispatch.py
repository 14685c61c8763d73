"""Which implementation of an operation runs. The rule is `implementation`; there is no other place that decides.

Operations that have more than one come as `reference.py` (readable, right for every tensor), `native.py` (C kernels for
the CPU), `fused.py` (fast on a CPU without a compiler) and `triton.py` (kernels for CUDA), with the same signatures.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from discretegrad.ops import native

IMPLEMENTATIONS = ("reference", "fused", "native", "triton")

ORDINARY = (Tensor, nn.Parameter)

HAS_TRITON = importlib.util.find_spec("triton") is not None

_functorch = torch._C._functorch
_interpreted = False


class _Forced(threading.local):
    """What each thread asks for by `using`."""

    def __init__(self) -> None:
        self.name: str | None = None  # a default in the class would be none that torch.compile's guards look at


_forced = _Forced()


def implementation(like: Tensor, dtype: torch.dtype | None = None) -> str:
    """The name of the implementation for operations on `like`.

    * "triton" on CUDA, where Triton is installed;
    * "native" on the CPU for float32 and float64, where there is a C compiler;
    * "fused" on the CPU otherwise, and where an operation has nothing native. It relies on cumulative sums being
      serial, and so monotone, which they are there only;
    * "reference" elsewhere: on other devices, in torch.func transforms, on the CPU under torch.compile, which fuses the
      reference itself, and wherever `using("reference")` asks for it.

    Args:
        like: a tensor of the operation.
        dtype: of the arithmetic, if it is not that of `like`.

    Raises:
        RuntimeError: where `using("triton")` asks for kernels that cannot run on the device of `like`.
    """
    name = _forced.name
    if name is None and like.is_cpu:
        if not has_entries(like):
            return "reference"
        return "fused" if native.library(dtype or like.dtype) is None else "native"
    fits_kernels = not _in_transform(like)
    if name == "native":
        fits = like.is_cpu and has_entries(like) and (dtype or like.dtype) in native.REALS
        return "native" if fits else "reference"
    if name == "triton":
        if like.device.type != "cuda" and not _interpreted:
            raise RuntimeError(
                f"Triton kernels run on CUDA tensors, not on {like.device.type}; to run them there by Triton's "
                "interpreter, set TRITON_INTERPRET=1 in the environment before the program starts."
            )
        return "triton" if fits_kernels else "reference"
    if name is not None:
        return name
    return "triton" if like.device.type == "cuda" and HAS_TRITON and fits_kernels else "reference"


@contextmanager
def using(name: str) -> Iterator[None]:
    """Run one implementation whatever the tensors: to compare, to measure, to look for a bug.

    Operations without that implementation, or without it for such tensors, run the reference. It holds in the thread
    that asks for it, and in backward passes through what was made there, whichever thread runs them.

    Raises:
        ValueError: for a name that is none.
        RuntimeError: for "triton" where it is not installed, for "native" where no C compiler works.

    Example:
        >>> import torch, discretegrad as dg
        >>> with dg.ops.using("reference"):
        ...     draw = dg.RLOO().sample(torch.zeros(2, 3))
    """
    global _interpreted
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"an implementation is one of {', '.join(map(repr, IMPLEMENTATIONS))}, not {name!r}.")
    if name == "triton" and not HAS_TRITON:
        raise RuntimeError("the kernels need Triton, which is not installed; use 'fused' or 'reference'.")
    if name == "native" and not native.available():
        raise RuntimeError("the C kernels need a compiler, and none works; use 'fused' or 'reference', or set CC.")
    _interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    with forcing(name):
        yield


def forced() -> str | None:
    """What `using` asks for in this thread, for work that is put off to another: see `forcing`."""
    return _forced.name


@contextmanager
def forcing(name: str | None) -> Iterator[None]:
    """As `using` of what was asked for elsewhere, where it was looked at already; None for nothing."""
    before, _forced.name = _forced.name, name
    try:
        yield
    finally:
        _forced.name = before


def has_entries(tensor: Tensor) -> bool:
    """Whether it is an ordinary tensor with entries in memory: not traced, not batched by vmap, not fake or meta."""
    # What else compiles than dynamo has fake tensors, of a type of their own.
    if torch.compiler.is_dynamo_compiling() or type(tensor) not in ORDINARY or tensor.is_meta:
        return False
    return not (_functorch.is_functorch_wrapped_tensor(tensor) or _functorch.is_legacy_batchedtensor(tensor))


def in_transform() -> bool:
    """Whether a transform of torch.func is at work, which may want random numbers for each of its batch."""
    return not torch.compiler.is_dynamo_compiling() and _functorch.peek_interpreter_stack() is not None


def _in_transform(tensor: Tensor) -> bool:
    # torch.compile traces no functorch built-in, and brings none of its wrappers here. The legacy one is for gradients.
    if torch.compiler.is_compiling():
        return False
    return _functorch.is_functorch_wrapped_tensor(tensor) or _functorch.is_legacy_batchedtensor(tensor)
