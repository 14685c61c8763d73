"""Each operation, and each estimator without f: what runs by default, what runs without a compiler, the reference.

Time, peak memory, and the bandwidth that is achieved: the bytes of the inputs read once and the outputs written once,
over the time, beside a copy with as much traffic in the same rounds. On the CPU, and on CUDA where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import discretegrad as dg
from benchmarks.cliffs import by_hand_gradient
from benchmarks.sizes import SMALL, Setting
from benchmarks.timing import beside, report, time_rows
from discretegrad.memory import peak
from discretegrad.ops import dispatch
from discretegrad.ops.inverse_cdf import categorical
from discretegrad.ops.score import one_hot, scatter

POINTS = 2
VARIABLES = 3 if SMALL else 32
CATEGORIES = (4,) if SMALL else (2, 10, 16, 64, 256, 1024)
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
REPEATS = 20
"""Calls in a CUDA graph, so that starting it and waiting for it counts little."""
COPULA_LARGEST = 64
"""Categories of a copula: its weights are sums over C (C - 1) / 2 orders."""


class Operation(NamedTuple):
    """What is timed, and the bytes that must be read and written whatever the method."""

    run: Callable[[], Any]
    traffic: int


def bytes_of(*tensors: Tensor) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def draw_independent(logits: Tensor) -> Operation:
    noise = torch.rand(POINTS, *logits.shape[:-1], device=logits.device)
    return Operation(lambda: categorical(logits, noise), bytes_of(logits, noise, noise.long()))


def make_one_hots(logits: Tensor) -> Operation:
    indices = dg.RLOO(POINTS).sample(logits).indices
    run = lambda: one_hot(indices, logits.shape[-1], logits.dtype)  # noqa: E731
    return Operation(run, bytes_of(indices) + POINTS * bytes_of(logits))


def scatter_values(logits: Tensor) -> Operation:
    indices = dg.RLOO(POINTS).sample(logits).indices
    values = torch.randn(POINTS, len(logits), 1, device=logits.device)
    return Operation(lambda: scatter(indices, values, logits.shape[-1]), bytes_of(indices, values, logits))


def sample_of(estimator: dg.Estimator) -> Callable[[Tensor], Operation]:
    """Logits read, ids written."""

    def build(logits: Tensor) -> Operation:
        indices = estimator.sample(logits).indices
        return Operation(lambda: estimator.sample(logits).indices, bytes_of(logits, indices))

    return build


def gradient_of(estimator: dg.Estimator) -> Callable[[Tensor], Operation]:
    """Logits read, ids and the gradient written: sampling, surrogate and backward on values that are there."""

    def build(logits: Tensor) -> Operation:
        leaf = logits.clone().requires_grad_()
        indices = estimator.sample(leaf).indices
        values = torch.randn(indices.shape[:2], device=logits.device)

        def run() -> Tensor:
            return torch.autograd.grad(estimator.surrogate(estimator.sample(leaf), values).sum(), leaf)[0]

        return Operation(run, bytes_of(logits, indices, logits))

    return build


ESTIMATORS = {
    "independent": dg.RLOO(POINTS),
    "tree": dg.DisARMTree(),
    "sticks": dg.DisARMSB(),
    "ascending sticks": dg.DisARMSB(order="ascending"),
    "copula": dg.CARMS(POINTS),
    "nearly distinct": dg.Flow(),
    "without replacement": dg.UnorderedSet(POINTS),
}
OPERATIONS: dict[str, Callable[[Tensor], Operation]] = {
    "categorical": draw_independent,
    "one_hot": make_one_hots,
    "scatter": scatter_values,
    **{f"{name}, sample": sample_of(estimator) for name, estimator in ESTIMATORS.items()},
    **{f"{name}, gradient": gradient_of(estimator) for name, estimator in ESTIMATORS.items()},
}


def prepared(run: Callable[[], object], device: str) -> Callable[[], object]:
    """`run` for a clock: on CUDA a graph of REPEATS calls, which is waited for."""
    if device == "cpu":
        return run
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(REPEATS):
            run()

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def per_call(seconds: dict[str, list[float]], device: str) -> dict[str, list[float]]:
    """From those of what `prepared` returned."""
    calls = 1 if device == "cpu" else REPEATS
    return {name: [taken / calls for taken in every] for name, every in seconds.items()}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("categories", CATEGORIES)
@pytest.mark.parametrize("device", DEVICES)
def test_operation(benchmark, device, categories, name):
    if name.startswith("copula") and categories > COPULA_LARGEST:
        pytest.skip("a copula's weights are sums over C (C - 1) / 2 orders")
    sizes = Setting(VARIABLES, categories)
    logits = torch.randn(sizes.batch, *sizes.event, device=device)
    operation = OPERATIONS[name](logits)

    def by(implementation: str) -> object:
        with dg.ops.using(implementation):
            return operation.run()

    source = torch.empty(operation.traffic // 8, device=device)  # read once and written once
    target = torch.empty_like(source)
    runs = {"default": operation.run, "reference": lambda: by("reference")}
    if dispatch.implementation(logits) == "native":
        runs["fused"] = lambda: by("fused")
    ready = {which: prepared(run, device) for which, run in runs.items()}
    ready["copy"] = prepared(lambda: target.copy_(source), device)
    benchmark.group = f"operations, {device}, C={categories}"
    seconds = per_call(beside(benchmark, ready, most=200), device)
    case = {"suite": "ops", "case": name, "device": device, "S": POINTS, **sizes.columns}
    rows = time_rows(case, seconds, over=["copy", "reference"])
    for row in [row for row in rows if row["metric"] == "time"]:
        bandwidth = operation.traffic / row["value"]
        rows.append(
            {**row, "metric": "bandwidth", "unit": "B/s", "value": bandwidth}
            | {"error": bandwidth * row["error"] / row["value"]}
        )
    for which, run in runs.items():
        bytes_ = peak(run, device)
        rows.append({**case, "implementation": which, "metric": "peak memory", "value": bytes_, "unit": "B"})
    if seconds:
        report(benchmark, rows)


OWN = {
    "rloo-2": dg.RLOO(2),
    "tree-2": dg.DisARMTree(),
    "sb-2": dg.DisARMSB(),
    "iw-2": dg.DisARMIW(),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("categories", (4,) if SMALL else (16, 64))
def test_own_time(benchmark, categories, name):
    """Sampling, surrogate and backward, without f, beside leave-one-out written by hand."""
    sizes = Setting(VARIABLES, categories)
    leaf = torch.randn(sizes.batch, *sizes.event).requires_grad_()
    values = torch.randn(POINTS, sizes.batch)

    hand = partial(by_hand_gradient, leaf, values)
    runs = {name: gradient_of(OWN[name])(leaf.detach()).run, "rloo-2 by hand": hand}
    benchmark.group = f"own time, C={categories}"
    seconds = beside(benchmark, runs, most=200)
    if seconds:
        case = {"suite": "own-time", "case": "without f", "S": POINTS, **sizes.columns}
        report(benchmark, time_rows(case, seconds, over=["rloo-2 by hand"]))
