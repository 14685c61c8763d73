"""Peak memory of a call, as torch's allocators see it; what a comparison holds, and whether the machine can."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from discretegrad.analysis.moments import GROUPS
from discretegrad.checks import installed

KEPT = GROUPS + 4
"""Doubles for each entry of the gradient and each estimator: group means, spread, unit vectors, and the result."""
AT_WORK = 3 * GROUPS + 4
"""Doubles for each entry beside, whoever's turn it is."""


def peak(run: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The most bytes of tensors that `run` holds on a device at a time, beyond those that were there before."""
    device = torch.device(device)
    gc.collect()  # or garbage of earlier calls goes in the middle of this one, and is taken off what it holds
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else every profile leaves two lines on stderr
    # The CPU's allocator keeps no count; the profiler notes every allocation (positive) and release (negative).
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    assert recorded.profiler is not None and recorded.profiler.kineto_results is not None
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def held(entries: int, records: int) -> int:
    """Bytes on the CPU for so many estimators, the long run among them."""
    return 8 * entries * (KEPT * records + AT_WORK)


def refuse(entries: int, records: int) -> None:
    """Raise where a comparison would hold more than the machine has.

    Raises:
        ValueError: with how much that is.
    """
    needed, there = held(entries, records), installed()
    if there is not None and needed > there:
        raise ValueError(
            f"the gradient has {entries} entries, so that the comparison would hold {needed / 2**30:.3g} GiB, and the "
            f"machine has {there / 2**30:.3g} GiB; measure fewer layers, by wrt or the second argument, or fewer "
            "estimators at a time."
        )
