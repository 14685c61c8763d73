"""The processes that train one model together, as `torchrun` starts them; usually one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from experiments.errors import UserError

CPU = torch.device("cpu")
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


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

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Of each tensor the sum over all processes, the same to the bit in all of them; in one exchange."""
        if self.size == 1 or not tensors:
            return list(tensors)
        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])  # in the widest dtype
        self._exchange(torch.distributed.all_reduce, flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]

    def sum_rows(self, rows: Tensor) -> Tensor:
        """Of sparse tensors, as the gradients of large tables are, the sum over all processes: what they hold alone."""
        rows = rows.to_sparse(1).coalesce()
        every = self.every((rows.indices().cpu(), rows.values().cpu()))
        parts = [torch.sparse_coo_tensor(at, own, rows.shape, check_invariants=False) for at, own in every]
        return torch.stack(parts).sum(0).coalesce().to(rows.device)

    def mean(self, total: Tensor | float, count: int) -> float:
        """The mean over all processes, of each one's sum and how many it has summed."""
        [pair] = self.sum([torch.tensor([float(total), count], dtype=torch.float64, device=self.device)])
        return float(pair[0]) / float(pair[1])

    def gather(self, rows: Tensor) -> Tensor:
        """Equally many rows `[n, ...]` of all processes, `[size * n, ...]` in the order of ranks, with gradients.

        For negatives from all processes: the mean over processes of each one's gradient, which is what the optimisers
        see, is then the gradient of the mean of their losses.
        """
        return rows if self.size == 1 else _Gather.apply(self, rows)

    def every(self, own: Any) -> list[Any]:
        """Each process's object, in the order of ranks."""
        found: list[Any] = [own] * self.size
        if self.size > 1:
            self._exchange(torch.distributed.all_gather_object, found, own)
        return found

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Give them, in place, the values that they have in process 0."""
        for tensor in tensors if self.size > 1 else ():
            self._exchange(torch.distributed.broadcast, tensor.detach(), 0)

    def apart(self, generator: torch.Generator) -> torch.Generator:
        """The same generator, seeded in every process but the first by its rank: noise must not repeat between them."""
        return generator.manual_seed(mixed(generator.initial_seed(), self.rank)) if self.rank else generator

    def _exchange(self, collective: Callable[..., Any], *arguments: Any) -> None:
        try:
            collective(*arguments)
        except RuntimeError as error:  # gloo's and NCCL's
            raise UserError(
                f"another process of this run has ended, so go on from the checkpoint by resume=auto ({error})."
            ) from error


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, world: World, rows: Tensor) -> Tensor:
        ctx.world, ctx.count = world, len(rows)
        gathered = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(world.size)]
        world._exchange(torch.distributed.all_gather, gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        [summed] = ctx.world.sum(gradients)
        return None, summed[ctx.world.rank * ctx.count :][: ctx.count]


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
    if size == 1:
        yield World(device=_device(device, 0))
        return
    store = next(rendezvous("env://"))[0]
    try:
        place = _device(device, int(os.environ.get("LOCAL_RANK", 0)))
        if place.type == "cuda":
            torch.cuda.set_device(place)
        torch.distributed.init_process_group(BACKENDS[place.type], store=store, rank=rank, world_size=size)
        yield World(rank, size, place)
    except Exception as error:
        if not _first(store):
            raise SystemExit(2) from error  # because another process has, which says why
        raise
    finally:  # whatever the others wait for from this process, they now do no longer
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _first(store: Any) -> bool:
    """Whether this process is the first of all that fails."""
    try:
        return store.add("failed", 1) == 1
    except RuntimeError:  # the store has gone with its process
        return True


def _device(name: str, index: int) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device is cpu, cuda or auto, not {name!r}.")
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (not available and name == "auto"):
        return CPU
    if not available:
        raise UserError("device=cuda needs a GPU that torch can use, and there is none; use device=cpu.")
    if index >= available:
        raise UserError(f"process {index} has no GPU: there are {available}; start as many processes, or device=cpu.")
    return torch.device("cuda", index)
