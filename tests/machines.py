"""Run what computes numbers as other machines would: under their instruction sets and numbers of threads.

    python tests/machines.py           # everything, each instruction set with each number of threads
    python tests/machines.py --part    # what differs most, each instruction set with one number of threads
    python tests/machines.py --list    # what would run where

torch's own kernels are chosen by ATEN_CPU_CAPABILITY, ours are compiled for DISCRETEGRAD_MARCH. A processor runs the
sets of its predecessors, and on x86 these are gone through up to its own; elsewhere there are torch's plain kernels and
the best. Further arguments are handed to pytest.
"""

import argparse
import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
LEVELS = {"default": "x86-64-v2", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}
THREADS = (1, 2, 4)
# Files and pictures, sentences, other people's machinery: the same everywhere, or made of what the others test.
NOT_NUMERICAL = ["experiments", "systems", "docs/test_documents.py", "docs/test_modules.py", "docs/test_table.py"]
NOT_NUMERICAL += ["refusals/test_refusals.py", "kernels/test_triton.py"]
NOT_NUMERICAL += [f"analysis/test_{name}.py" for name in ("plots", "restore", "resume")]
PART = [f"kernels/test_{name}.py" for name in ("fused", "native", "ops")]
PART += ["nn/test_one_hot_linear.py", "analysis/test_compare.py"]
PART_OF_THESE = "(1000 or share_a_call or threads or exponentials or linear_layer) and not inverse_cdf"


def machines(capability=None, x86=None):
    """(ATEN_CPU_CAPABILITY, DISCRETEGRAD_MARCH) of all that this one can be.

    Args:
        capability: torch's name of the best that it has.
        x86: whether it is one.
    """
    capability = (capability or torch.backends.cpu.get_cpu_capability()).lower()
    x86 = platform.machine() in ("x86_64", "AMD64") if x86 is None else x86
    names = list(LEVELS)
    if x86 and capability in names:
        below = [(name, LEVELS[name]) for name in names[: names.index(capability) + 1]]
        return [*below, (None, "native")]
    return [("default", "native"), (None, "native")]


def runs(part, **machine):
    """(capability, march, threads) of every run."""
    found = machines(**machine)
    if part:
        return [(*one, threads) for one, threads in zip(found, itertools.cycle(THREADS))]
    return [(*one, threads) for one in found for threads in THREADS]


def command(part, arguments):
    """That of pytest."""
    if part:
        # All kinds of logits, of which `make test` looks at one a size.
        chosen = [*(str(HERE / name) for name in PART), "-k", PART_OF_THESE]
    else:
        chosen = [str(HERE), *(f"--ignore={HERE / name}" for name in NOT_NUMERICAL), "-m", "not slow"]
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, *arguments]


def environment(capability, march, threads):
    """Of one run. Threads that wait do not keep others from the processors, of which there may be fewer."""
    own = {"DISCRETEGRAD_MARCH": march, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    inherited = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    if capability:
        own["ATEN_CPU_CAPABILITY"] = capability
    if capability == "default":  # MKL's products by instructions that all processors have
        own["MKL_CBWR"] = "COMPATIBLE"
    return inherited | own


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="store_true", help="what differs most, for every change")
    parser.add_argument("--list", action="store_true", help="say what would run where, and stop")
    options, arguments = parser.parse_known_args()
    failed = []
    for run in runs(options.part):
        name = "torch's kernels: {}; ours: {}; threads: {}".format(run[0] or "the best", *run[1:])
        print(name, flush=True)
        if not options.list and subprocess.run(command(options.part, arguments), env=environment(*run)).returncode:
            failed.append(name)
    print(*(f"FAILED under {name}" for name in failed), sep="\n", end="\n" if failed else "")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
