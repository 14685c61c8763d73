"""Which machines are played, and that their settings arrive where they are meant to."""

import os
import subprocess
import sys

import machines
import pytest

X86 = [("default", "x86-64-v2"), ("avx2", "x86-64-v3"), ("avx512", "x86-64-v4")]


@pytest.mark.parametrize(("capability", "levels"), [("DEFAULT", 1), ("AVX2", 2), ("AVX512", 3)])
def test_a_processor_plays_its_predecessors_and_itself(capability, levels):
    assert machines.machines(capability, x86=True) == [*X86[:levels], (None, "native")]


@pytest.mark.parametrize(("capability", "x86"), [("DEFAULT", False), ("SVE256", False), ("AVX1024", True)])
def test_others_play_torch_s_plain_kernels_and_themselves(capability, x86):
    assert machines.machines(capability, x86) == [("default", "native"), (None, "native")]


@pytest.mark.parametrize("capability", ["DEFAULT", "AVX2", "AVX512", "SVE256"])
def test_every_instruction_set_runs_with_every_number_of_threads_or_with_one(capability):
    machine = {"capability": capability, "x86": capability != "SVE256"}
    played = machines.machines(**machine)
    whole, part = (machines.runs(part, **machine) for part in (False, True))
    assert set(whole) == {(*one, threads) for one in played for threads in machines.THREADS}
    assert [run[:2] for run in part] == played and set(part) < set(whole)


@pytest.mark.parametrize("part", [False, True])
def test_all_that_is_named_is_there(part):
    names = machines.PART if part else machines.NOT_NUMERICAL
    assert all((machines.HERE / name).exists() for name in names)


def test_settings_arrive():
    """In torch, in the flags of the compiler, and in the number of threads that tests have."""
    code = "import conftest, torch; from discretegrad.ops import native; print(native.march(), torch.get_num_threads())"
    code += "; print(torch.backends.cpu.get_cpu_capability())"
    environment = machines.environment("default", "x86-64-v2", 2)
    environment["PYTHONPATH"] = os.pathsep.join([str(machines.HERE), *sys.path])
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["-march=x86-64-v2", "2", "DEFAULT"]


def test_a_failure_under_one_of_them_fails_the_command(monkeypatch, capsys):
    def run(command, env):
        assert command[-1] == "--quiet-please" and command[1:3] == ["-m", "pytest"]
        return subprocess.CompletedProcess(command, env["OMP_NUM_THREADS"] == failing)

    monkeypatch.setattr(machines.subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["machines.py", "--quiet-please"])
    for failing in ("2", "none"):
        with pytest.raises(SystemExit) as ended:
            machines.main()
        assert bool(ended.value.code) == (failing == "2")
        failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED under")]
        assert len(failed) == (len(machines.machines()) if failing == "2" else 0)
        assert all(line.endswith("threads: 2") for line in failed)
