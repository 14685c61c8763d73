"""The choice of an implementation: each thread's own, kept for backward passes, and followed by compiled code."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import discretegrad as dg
from discretegrad.autograd import attach_gradient_later
from discretegrad.ops import dispatch

LOGITS = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
NAMES = ("reference", "fused")


def gradient(estimator):
    logits = LOGITS.clone().requires_grad_()
    draw = estimator.sample(logits, torch.Generator().manual_seed(0))
    estimator.surrogate(draw, draw.points[..., 0].sum(-1).square()).sum().backward()
    return logits.grad


def in_another_thread(run):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_two_threads_use_different_implementations_at_once():
    """Both have entered before either asks, and the first asks once more when the second has left."""
    barrier = threading.Barrier(2, timeout=60)

    def first():
        with dispatch.using("reference"):
            barrier.wait()
            seen, found = [dispatch.implementation(LOGITS)], gradient(dg.DisARMTree())
            barrier.wait()
            return [*seen, dispatch.implementation(LOGITS)], found

    def second():
        with dispatch.using("fused"):
            barrier.wait()
            seen, found = [dispatch.implementation(LOGITS)], gradient(dg.DisARMTree())
        barrier.wait()
        return seen, found

    default = dispatch.implementation(LOGITS)
    alone = []
    for name in NAMES:
        with dispatch.using(name):
            alone.append(gradient(dg.DisARMTree()))
    with ThreadPoolExecutor(2) as pool:
        found = [one.result() for one in [pool.submit(run) for run in (first, second)]]
    for name, (seen, together), by_itself in zip(NAMES, found, alone, strict=True):
        assert set(seen) == {name}
        assert torch.equal(together, by_itself)
    assert dispatch.implementation(LOGITS) == default


def test_a_thread_that_asks_for_nothing_has_the_default():
    default = dispatch.implementation(LOGITS)
    with dispatch.using("reference"):
        assert dispatch.implementation(LOGITS) == "reference"
        assert in_another_thread(lambda: dispatch.implementation(LOGITS)) == default


@pytest.mark.parametrize("chosen", [None, *NAMES])
def test_a_backward_pass_in_another_thread_keeps_the_choice(chosen):
    """As those of CUDA are; it changes nothing of that thread."""
    seen = []

    def later(scale):
        seen.append(dispatch.forced())
        return torch.ones_like(LOGITS)

    with dispatch.forcing(chosen):
        logits = LOGITS.clone().requires_grad_()
        value = attach_gradient_later(torch.zeros(2), logits, later)

    def backward():
        with dispatch.using("fused"):
            value.sum().backward()
            return dispatch.forced()

    assert in_another_thread(backward) == "fused"
    assert seen == [chosen]
    assert torch.equal(logits.grad, torch.ones_like(LOGITS))


def test_the_choice_outlives_an_error_in_it():
    with pytest.raises(KeyError), dispatch.using("reference"), dispatch.using("fused"):
        raise KeyError
    assert dispatch.forced() is None


def test_compiled_code_follows_the_choice_of_the_thread_that_runs_it():
    """One graph for each choice: "fused" is what the CPU's default never is under torch.compile."""

    def step(x):
        return x + IMPLEMENTATIONS.index(dispatch.implementation(x))

    IMPLEMENTATIONS = dispatch.IMPLEMENTATIONS
    compiled = torch.compile(step, fullgraph=True, backend="eager")
    zero = torch.zeros(())

    def chosen():
        return IMPLEMENTATIONS[int(compiled(zero))]

    assert chosen() == "reference"
    with dispatch.using("fused"):
        assert chosen() == "fused"
        assert in_another_thread(chosen) == "reference"
    assert chosen() == "reference"
