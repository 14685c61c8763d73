"""What is counted: exact on a miniature, and of this checkout all there is."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import calls, counts

ROOT = Path(__file__).parents[2]
CORE = '''"""Two lines that are

not code."""

from typing import Any


class Draw:
    first: Any  # a comment is no code, but this is
    _cache: Any = None

    @property
    def second(self) -> list[Any]:
        """None."""
        return [
            1,

            2,
        ]


class Law:
    outcomes = 1
    of = set = None

    def _own(self) -> None: ...


class _Hidden:
    def method(self) -> None: ...


async def free() -> None:
    def within() -> None: ...
    return """a string that is
    code"""
'''


@pytest.fixture
def miniature(tmp_path):
    for folder in ("discretegrad/ops", "experiments/engine"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "discretegrad/core.py").write_text(CORE)
    (tmp_path / "discretegrad/ops/sum.py").write_text("def total(a, b):\n    return a + b\n")
    (tmp_path / "experiments/engine/loop.py").write_text("x = 1\n\n# no\ny = 2\n")
    (tmp_path / "README.md").write_text("three words here\n\nand two\n")
    return tmp_path


def test_a_miniature_is_counted_exactly(miniature):
    assert counts.of_contract(miniature) == {
        "fields of Draw": 1,
        "caches of Draw": 1,
        "classes of the contract": 2,
        "members of the contract": 5,  # first, second; outcomes, of, set
        "Any in the contract's files": 3,
    }
    assert counts.of_code(miniature) == {
        "lines of core.py": 36,
        "lines of core.py, code alone": 20,
        "lines of a function, median": 1.5,  # _own, method, within: 1; total: 2; free: 4; second: 6
        "lines of a function, 90 %": 6,
        "lines of a function, most": 6,
        "public names": 5,  # Draw, Draw.second, Law, free; total
        "lines of README": 3,
        "words of README": 5,
        "lines of the engine, code alone": 2,
    }


def test_calls_of_a_package_are_counted_and_no_others(miniature, monkeypatch):
    monkeypatch.setattr(calls, "PACKAGE", miniature / "discretegrad")
    monkeypatch.syspath_prepend(str(miniature / "discretegrad/ops"))
    import sum as operation

    def run():
        for _ in range(3):
            operation.total(len("ab"), 2)

    assert calls.entered(run) == 3 * [Path("ops/sum.py")]


def test_this_checkout_has_all_that_is_counted():
    command = [sys.executable, "-m", "benchmarks.counts"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = dict(line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:])
    for name, number in rows.items():
        if "calls outside" in name:
            phases = [int(part) for part in number.split(" / ")]
            assert len(phases) == 4 and min(phases[:3]) > 0
            # A path is torch's own graph.
            assert phases[3] > 0 or name.startswith("ReinMax")
        else:
            assert float(number) > 0, name
    assert len([name for name in rows if name.startswith("Flow")]) == 4
    assert (
        int(rows["functions between compare and f, least"]) <= int(rows["functions between compare and f, most"]) <= 8
    )


def test_another_folder_is_refused(tmp_path):
    command = [sys.executable, "-m", "benchmarks.counts", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "give the root of a checkout" in done.stderr
