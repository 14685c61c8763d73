"""What a comparison holds, and that more than there is is refused before it begins."""

import pytest
import torch

import discretegrad as dg
from discretegrad import analysis
from discretegrad.analysis import memory

D = 100_000
LOGITS = torch.zeros(D // 4, 4)
TWO = {"two": dg.RLOO(2), "three": dg.RLOO(3)}
ARGUMENTS = {"replicates": 128, "rounds": 0, "progress": False}


def f(points):
    return points[..., 0].sum(-1).square()


def test_a_comparison_holds_what_is_said():
    """No more, and not much less, with a long run and without."""
    for truth, records in ((None, 3), (torch.zeros(D), 2)):
        most = memory.peak(lambda truth=truth: str(analysis.compare(f, LOGITS, TWO, truth=truth, **ARGUMENTS)))
        assert 0.9 * memory.held(D, records) < most <= memory.held(D, records)


def test_what_does_not_fit_is_refused_before_f_is_called(monkeypatch):
    def uncalled(points):
        raise AssertionError

    monkeypatch.setattr(memory, "installed", lambda: memory.held(D, 3) - 1)
    with pytest.raises(
        ValueError, match=r"100000 entries.*hold 0\.155 GiB.*has 0\.155 GiB; measure fewer layers"
    ) as error:
        analysis.compare(uncalled, LOGITS, TWO, **ARGUMENTS)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(memory, "installed", lambda: memory.held(D, 3))
    assert list(analysis.compare(f, LOGITS, TWO, **ARGUMENTS).results) == list(TWO)
    monkeypatch.setattr(memory, "installed", lambda: None)
    memory.refuse(10**15, 3)


def test_a_machine_that_does_not_tell_refuses_nothing(monkeypatch):
    assert memory.installed() > 2**28
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.installed() is None
