"""The processes that train one model together, as `torchrun` starts them; usually one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from experiments.engine.errors import UserError

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class World:
    """This process among all; every method that gathers must be called by all of them, in the same order."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def writes(self) -> bool:
        """Whether it is this process that writes files and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` examples: a contiguous one, all parts together are all of them."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def mean(self, total: Tensor | float, count: int) -> float:
        """The mean over all processes, of each one's sum and how many it has summed."""
        pair = torch.tensor([float(total), count], dtype=torch.float64, device=self.device)
        if self.size > 1:
            torch.distributed.all_reduce(pair)
        return float(pair[0]) / float(pair[1])

    def gather(self, rows: Tensor) -> Tensor:
        """Equally many rows `[n, ...]` of all processes, `[size * n, ...]` in the order of ranks, with gradients.

        For negatives from all processes: the mean over processes of each one's gradient, which is what the optimisers
        see, is then the gradient of the mean of their losses.
        """
        if self.size == 1:
            return rows
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(rows))

    def every(self, own: Any) -> list[Any]:
        """Each process's object, in the order of ranks."""
        if self.size == 1:
            return [own]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, own)
        return found

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether any process has raised it."""
        if self.size == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32, device=self.device)
        torch.distributed.all_reduce(raised, torch.distributed.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def agreed(self, work: Callable[[], T]) -> T:
        """What the work returns here, if it is refused nowhere; else the first refusal, in every process."""
        result, refusal = None, None
        try:
            result = work()
        except UserError as error:
            refusal = error
        said = [str(other) for other in self.every(refusal and str(refusal)) if other]
        if said:
            raise UserError(said[0]) from refusal
        return result  # type: ignore[return-value]


def mixed(*parts: int) -> int:
    """A seed from several numbers; other numbers, another seed."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest())


def seed_globally(device: torch.device, *parts: int) -> None:
    """Seed the generators that a model may draw from without being handed one: torch's, Python's and numpy's."""
    seed = mixed(*parts)
    # Not torch.manual_seed: it notes the call stack for every kind of device that is not there, a millisecond a step.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


@contextlib.contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes of `torchrun`, whose environment variables tell; without them there is one.

    Args:
        device: "cpu", "cuda", or "auto": cuda where there is one.

    Raises:
        UserError: for another device, or where there is no such GPU.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    place = _device(device, int(os.environ.get("LOCAL_RANK", 0)) if size > 1 else 0)
    if size == 1:
        yield World(device=place)
        return
    import torch.distributed

    if place.type == "cuda":
        torch.cuda.set_device(place)
    torch.distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield World(rank, size, place)
    finally:
        torch.distributed.destroy_process_group()


def _device(name: str, index: int) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device is cpu, cuda or auto, not {name!r}.")
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and not available:
        raise UserError("device=cuda needs a GPU that torch can use, and there is none; use device=cpu.")
    if name == "cpu" or not available:
        return torch.device("cpu")
    if index >= available:
        raise UserError(
            f"process {index} of this machine has no GPU: there are {available}; start as many processes, or use "
            "device=cpu."
        )
    return torch.device("cuda", index)
