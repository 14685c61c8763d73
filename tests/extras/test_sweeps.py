"""Sweeps in other processes, by joblib, submitit and Ray: none hides a failure, all stop, and all go on bit for bit.

These need the extras sweep and ray, and fail without them: `make test-extras`.
"""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from benchmarks.kills import alive, content, equal

ROOT = Path(__file__).parents[2]
SIZES = ("data=digits", "device=cpu", "model.variables=3", "model.categories=4", "model.hidden=[16]", "threads=1")
RUN = ("task.bound_samples=2", "run.batch=10", "run.log_every=20", "run.evaluate_every=1000", "run.progress=false")
JOBLIB, SUBMITIT = ("-m", "launcher=local"), ("-m", "launcher=submitit_local")
LONG = 1_000_000


def start(module, folder, *arguments):
    """The command, in a session of its own, where no signal but the test's reaches it."""
    where = (f"run.dir={folder}/seed${{run.seed}}-${{hydra:runtime.choices.estimator}}",)
    if "-m" in arguments:
        where += (f"hydra.sweep.dir={folder}",)
    line = [sys.executable, "-m", module, *arguments, *SIZES, *RUN, *where]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env=environment,
    )  # fmt: skip


def finish(process, code=0):
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    return out, err


def until(true, process=None, seconds=300):
    deadline = time.monotonic() + seconds
    while not true():
        assert process is None or process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def training(*folders):
    """Whether each has a row under the header."""
    files = [folder / "metrics.csv" for folder in folders]
    return all(file.exists() and file.read_text().count("\n") > 1 for file in files)


def holder(folder):
    """The process that has locked a run's folder, if there is one."""
    inode = folder.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, _, _, pid, place, *_ = line.split()
        if kind == "FLOCK" and int(place.split(":")[-1]) == inode:
            return int(pid)
    return None


def step(folder):
    return torch.load(folder / "checkpoint.pt", weights_only=True)["step"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The runs of seeds 0, 1 and 2 for 1,000 steps, one after the other and without a stop."""
    folder = tmp_path_factory.mktemp("plain")
    finish(start("experiments.train", folder, "-m", "estimator=rloo", "run.seed=0,1,2", "run.steps=1000"))
    return [folder / f"seed{seed}-rloo" for seed in range(3)]


@pytest.mark.parametrize(
    ("launcher", "number", "code"),
    [
        (JOBLIB, signal.SIGINT, 130),
        (JOBLIB, signal.SIGKILL, -9),
        (SUBMITIT, signal.SIGTERM, 143),
        (SUBMITIT, signal.SIGKILL, -9),
    ],
)
def test_a_stopped_sweep_stops_its_runs_at_their_step_and_goes_on(launcher, number, code, tmp_path, plain):
    """Also where the command is killed: submitit's processes take no notice of that by themselves."""
    arguments = ("experiments.train", tmp_path, *launcher, "estimator=rloo", "run.seed=0,1,2", "jobs=2")
    process = start(*arguments, "run.steps=1000", f"run.checkpoint_every={LONG}")
    first = [tmp_path / f"seed{seed}-rloo" for seed in range(2)]
    until(lambda: training(*first), process)
    workers = [holder(folder) for folder in first]
    assert all(workers)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, err = finish(process, code)
    until(lambda: not any(alive(pid) for pid in workers), seconds=60)
    assert all(0 < step(folder) < 1000 for folder in first)  # no checkpoint was due
    assert not (tmp_path / "seed2-rloo").exists()
    assert "Traceback" not in err
    if number != signal.SIGKILL:
        assert err.count("stopped at step") == 2
        assert "go on with\n  python -m experiments.train -m" in err
        assert "resume=auto" in err
    finish(start(*arguments, "run.steps=1000", "resume=auto"))
    for seed in range(3):
        assert equal(content(tmp_path / f"seed{seed}-rloo"), content(plain[seed]))


@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT])
def test_a_run_that_fails_hides_behind_no_launcher(launcher, tmp_path):
    arguments = ("experiments.train", tmp_path, *launcher, "estimator=arm,rloo", "run.steps=20", "jobs=1")
    out, err = finish(start(*arguments), 2)
    assert "seed0-arm: ARM is for bernoulli latents" in err
    assert err.splitlines()[-1].startswith("1 of 2 runs failed")
    assert "RLOO on digits, 20 steps" in out
    assert "Traceback" not in err


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for the commands of Slurm: jobs of an array run here, at once and all together."""
    commands = {
        "sbatch": """
            count=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
            export SLURM_ARRAY_JOB_ID=77 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1
            export SLURM_NODEID=0 SLURM_PROCID=0 SLURM_LOCALID=0
            for i in $(seq 0 $count); do
                SLURM_JOB_ID=$((78 + i)) SLURM_ARRAY_TASK_ID=$i setsid bash "$1" >/dev/null 2>&1 </dev/null &
            done
            echo Submitted batch job 77
        """,
        "srun": """
            while [ "${1#--}" != "$1" ]; do [ "$1" = --unbuffered ] || shift; shift; done
            exec "$@" >>"$(dirname "$SUBMITIT_TEST")/slurm.out" 2>&1
        """,
        "sacct": "true",
    }
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, script in commands.items():
        (folder / name).write_text("#!/bin/bash\n" + textwrap.dedent(script))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITIT_TEST", str(folder))
    return tmp_path / "slurm.out"


def test_slurm_gets_its_settings_and_gives_back_what_failed(slurm, tmp_path):
    options = ("-m", "launcher=slurm", "hydra.launcher.partition=gpu", "threads=1", "jobs=5")
    arguments = ("estimator=rloo,arm", "run.steps=20")
    _, err = finish(start("experiments.train", tmp_path / "runs", *options, *arguments), 2)
    assert f"{tmp_path}/runs/seed0-arm: ARM is for bernoulli latents" in err
    assert "Traceback" not in err
    assert "RLOO on digits, 20 steps" in slurm.read_text()
    assert step(tmp_path / "runs" / "seed0-rloo") == 20
    (script,) = (tmp_path / "runs").glob(".submitit/77/*.sh")
    asked = re.findall("^#SBATCH --(.*)", script.read_text(), re.MULTILINE)
    assert {"partition=gpu", "cpus-per-task=1", "array=0-1%2", "time=240", "signal=USR2@120"} <= {*asked}
    assert "resume: auto" in (tmp_path / "runs" / "seed0-rloo" / "config.yaml").read_text()


def test_a_machine_without_slurm_is_a_sentence(tmp_path):
    _, err = finish(start("experiments.train", tmp_path, "-m", "launcher=slurm", "run.seed=0,1"), 2)
    assert err.startswith('the sweep cannot be launched: Could not detect "srun"')
    assert err.count("\n") == 1


def test_two_runs_do_not_meet_in_one_folder(tmp_path):
    steps = ("run.steps=400,401", "jobs=2", "resume=auto")
    _, err = finish(start("experiments.train", tmp_path, *JOBLIB, "estimator=rloo", *steps), 2)
    assert "another process trains in" in err


def test_a_killed_process_of_joblib_s_ends_the_sweep_with_a_sentence(tmp_path):
    process = start("experiments.train", tmp_path, *JOBLIB, "estimator=rloo", "run.seed=0,1", f"run.steps={LONG}")
    folders = [tmp_path / f"seed{seed}-rloo" for seed in range(2)]
    until(lambda: training(*folders), process)
    os.kill(holder(folders[0]), signal.SIGKILL)
    _, err = finish(process, 2)
    assert any(line.startswith("a process of the sweep was killed") for line in err.splitlines())
    assert "Traceback" not in err
    until(lambda: not any(holder(folder) for folder in folders), seconds=60)


def test_ray_starts_a_killed_run_again_and_leaves_the_finished_ones(tmp_path, plain):
    arguments = ("experiments.sweep", tmp_path, "estimator=rloo", "run.seed=0,1,2", "jobs=2", "run.steps=1000")
    process = start(*arguments, "run.checkpoint_every=50")
    folders = [tmp_path / f"seed{seed}-rloo" for seed in range(3)]
    until(lambda: training(folders[1]) and holder(folders[1]), process)
    killed = holder(folders[1])
    os.kill(killed, signal.SIGKILL)
    until(lambda: any((folder / "learning_curve.png").exists() for folder in folders), process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = finish(process, 130)
    assert "seed1-rloo: its process died (WorkerCrashedError); started again, 1 of 3" in err
    assert "go on with\n  python -m experiments.sweep" in err
    assert "Traceback" not in err
    assert not any(holder(folder) for folder in folders if folder.exists())
    done = [folder for folder in folders if (folder / "learning_curve.png").exists()]
    times = [(folder / "result.json").stat().st_mtime_ns for folder in done]
    assert done
    out, _ = finish(start(*arguments, "resume=auto"))
    assert out.count("is finished already") == len(done)
    assert [(folder / "result.json").stat().st_mtime_ns for folder in done] == times
    for folder, expected in zip(folders, plain, strict=True):
        assert equal(content(folder), content(expected))


def test_a_run_that_fails_on_ray_is_said(tmp_path):
    out, err = finish(start("experiments.sweep", tmp_path, "estimator=arm,rloo", "run.steps=20", "jobs=2"), 2)
    assert "seed0-arm: ARM is for bernoulli latents" in err
    assert err.splitlines()[-1].startswith("1 of 2 runs failed")
    assert "RLOO on digits, 20 steps" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs=0",), "jobs must be an integer of at least 1"),
        (("address=nowhere",), "address is local, auto, HOST:PORT or ray://HOST:PORT"),
        (("jobs=1,2",), "jobs is one value for the whole sweep"),
        (("estimator=dizarm",), "Could not find 'estimator/dizarm'"),
        (("optimizer.lr=1e-3,1e-4",), "two runs of the sweep go to"),
        (("address=127.0.0.1:9",), "there is no Ray cluster at address=127.0.0.1:9"),
    ],
)
def test_what_ray_cannot_do_is_one_sentence(arguments, said, tmp_path, capsys, monkeypatch):
    from experiments import sweep

    monkeypatch.setattr(sys, "argv", ["sweep", *arguments, f"run.dir={tmp_path / 'run'}", *SIZES])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit) as end:
        sweep.main()
    _, err = capsys.readouterr()
    assert end.value.code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_sweep_that_is_killed_in_whole_or_in_part_goes_on_bit_for_bit():
    command = [sys.executable, "-m", "benchmarks.kills", "--times", "3", "--steps", "200", "--of", "processes"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "processes: 3 of 3 went on bit for bit" in said
