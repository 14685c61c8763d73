"""What a comparison holds, and that more than there is is refused before it begins."""

import gc
import os
import platform
import resource
import subprocess
import sys

import pytest
import torch

import discretegrad as dg
from discretegrad import analysis, checks, memory
from discretegrad.analysis import arguments

D = 100_000
LOGITS = torch.zeros(D // 4, 4)
TWO = {"two": dg.RLOO(2), "three": dg.RLOO(3)}
ARGUMENTS = {"replicates": 128, "rounds": 0, "progress": False}


def f(points):
    return points[..., 0].sum(-1).square()


@pytest.mark.slow
def test_a_comparison_holds_what_is_said():
    """No more, and not much less, with a long run and without."""
    for truth, records in ((None, 3), (torch.zeros(D), 2)):
        most = memory.peak(lambda truth=truth: str(analysis.compare(f, LOGITS, TWO, truth=truth, **ARGUMENTS)))
        assert 0.9 * arguments.held(D, records) < most <= arguments.held(D, records)


def test_what_does_not_fit_is_refused_before_f_is_called(monkeypatch):
    def uncalled(points):
        raise AssertionError

    monkeypatch.setattr(arguments, "installed", lambda: arguments.held(D, 3) - 1)
    with pytest.raises(
        ValueError, match=r"100000 entries.*hold 0\.155 GiB.*has 0\.155 GiB; measure fewer layers"
    ) as error:
        analysis.compare(uncalled, LOGITS, TWO, **ARGUMENTS)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(arguments, "installed", lambda: arguments.held(D, 3))
    assert list(analysis.compare(f, LOGITS, TWO, **ARGUMENTS).results) == list(TWO)
    monkeypatch.setattr(arguments, "installed", lambda: None)
    arguments.refuse_memory(10**15, 3)


def test_a_machine_that_does_not_tell_refuses_nothing(monkeypatch):
    assert checks.installed() > 2**28
    monkeypatch.delattr(checks.os, "sysconf")
    assert checks.installed() is None


def test_garbage_of_earlier_calls_is_not_taken_off():
    class Cycle:
        def __init__(self):
            self.own, self.memory = self, torch.zeros(10**5)

    def collected():
        gc.collect()
        torch.zeros(1000)

    gc.disable()
    try:
        memory.peak(Cycle)
        assert memory.peak(collected) == 4000
    finally:
        gc.enable()


OTHERWISE = ("GLIBC_TUNABLES", "LD_PRELOAD", "MALLOC_")


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or any(name.startswith(OTHERWISE) for name in os.environ),
    reason="another malloc, or one that was told what to do",
)
@pytest.mark.parametrize("kept", [pytest.param(False, marks=pytest.mark.slow), True])
def test_freed_memory_is_kept_where_replicates_are_drawn(kept):
    """New pages in ten calls of a function of three blocks of 10 MB: none; all where malloc is told to keep nothing."""
    program = f"""if True:
        import resource, torch
        from discretegrad import RLOO
        from discretegrad.analysis.replicator import Problem, Replicator

        def three_blocks():
            return [torch.ones(10 * 2**18) for _ in range(3)]

        if {kept}:
            Replicator(Problem(None, torch.zeros(1, 2)), RLOO())
        for _ in range(5):
            three_blocks()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            three_blocks()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    environment = os.environ if kept else {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    command = [sys.executable, "-c", program]
    faults = int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)
    pages = 10 * 3 * 10 * 2**20 // resource.getpagesize()
    assert faults < 0.01 * pages if kept else faults > 0.9 * pages
