"""Peak memory of a call, as torch's allocators see it."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


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
