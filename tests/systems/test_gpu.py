"""`make gpu`, without a GPU: what it would run, how long it may take, and what becomes of parts that fail."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu, results

ROOT = Path(__file__).parents[2]


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LOGS", tmp_path)
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    return tmp_path


def part(name, *programs, seconds=60):
    return gpu.Part(name, tuple(("-c", program) for program in programs), seconds)


def test_it_takes_eight_minutes_at_most():
    assert gpu.longest() <= gpu.SECONDS <= 8 * 60


def test_it_is_told_what_would_run(capsys):
    assert gpu.main(["--list"]) == 0
    printed = capsys.readouterr().out
    for file in ("tests/kernels/test_triton.py", "tests/kernels/test_cuda.py", "benchmarks/test_ops.py"):
        assert (ROOT / file).exists()
        assert file in printed
    assert "benchmarks.cliffs" in printed


def test_without_a_device_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(gpu, "device", lambda: None)
    assert gpu.main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err


def test_parts_that_fail_or_hang_do_not_stop_the_others(logs, monkeypatch, capsys):
    endless = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    stages = (
        (part("good", "print('one')", "print('two')"), part("hangs", endless, seconds=2)),
        (part("bad", "raise SystemExit('gone wrong')", "print('goes on')"),),
        (part("last", ""),),
    )
    monkeypatch.setattr(gpu, "STAGES", stages)
    monkeypatch.setattr(gpu, "device", lambda: "a device")
    start = time.monotonic()
    assert gpu.main([]) == 1
    assert time.monotonic() - start < 300
    printed = capsys.readouterr().out
    assert "2 of 4 parts passed" in printed
    assert "gone wrong" in printed
    assert "still running" in printed
    assert (logs / "good.log").read_text() == "one\ntwo\n"
    assert "goes on" in (logs / "bad.log").read_text()


def test_all_parts_passed(logs, monkeypatch):
    monkeypatch.setattr(gpu, "STAGES", ((part("good", ""),),))
    monkeypatch.setattr(gpu, "device", lambda: "a device")
    assert gpu.main([]) == 0


def test_when_the_time_is_over_nothing_begins(logs):
    (outcome,) = gpu.run_stage([part("late", "print('never')")], time.monotonic() - 1)
    assert outcome.failed
    assert (logs / "late.log").read_text() == ""


def test_results_do_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "none"))
    assert results.provenance()["git_sha"] == "unknown"


def test_nothing_is_needed_but_torch_and_pytest():
    """Where scipy, matplotlib and the like are not installed, everything that runs on a GPU can be imported."""
    program = """
import sys
sys.path[:0] = ["tests", "tests/kernels"]
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"scipy", "matplotlib", "tqdm", "hydra", "omegaconf", "sklearn", "experiments"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import benchmarks.gpu, benchmarks.cliffs, benchmarks.results, benchmarks.test_ops, benchmarks.conftest
import test_triton, test_cuda
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
