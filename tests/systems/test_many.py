"""Sweeps in one process, and what may befall a run's folder: nothing is lost, and nothing hides."""

import errno
import functools
import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import discretegrad.files
from benchmarks.kills import content, equal
from experiments import many, train
from experiments.engine import Interrupted
from experiments.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
SIZES = ("data=digits", "device=cpu", "model.variables=3", "model.categories=4", "model.hidden=[16]")
RUN = ("task.bound_samples=2", "run.batch=10", "run.log_every=5", "run.steps=10", "run.progress=false")


def configure(folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["estimator=rloo", *SIZES, *RUN, f"run.dir={folder}", *overrides])


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Drawing takes longer than these runs."""

    def describe(run):
        (run.folder.path / "learning_curve.png").touch()
        return f"{run.task.title}, {run.step} steps"

    monkeypatch.setattr(train, "describe", describe)


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    """The folder of a run of 10 steps."""
    folder = tmp_path_factory.mktemp("ten") / "run"
    train.train(configure(folder))
    (folder / "learning_curve.png").touch()
    return folder


@pytest.fixture
def begun(ten, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(ten, tmp_path / "run"))


@pytest.fixture(scope="module")
def twenty(tmp_path_factory):
    """What a run of 20 steps without a stop holds."""
    folder = tmp_path_factory.mktemp("twenty")
    train.train(configure(folder, "run.steps=20"))
    return content(folder)


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """The command in this process, with the folders of its runs named after estimator and seed."""

    def command(*arguments):
        where = (
            f"run.dir={tmp_path}/${{hydra:runtime.choices.estimator}}-${{run.seed}}",
            f"hydra.sweep.dir={tmp_path}",
        )
        line = ["train.py", "--config-path", str(CONF), "-m", *arguments, *SIZES, *RUN, *where]
        monkeypatch.setattr(sys, "argv", line)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        try:
            train.main()
        except SystemExit as end:
            return end.code
        return 0

    return command


def test_a_run_that_is_refused_hides_behind_no_other(sweep, tmp_path, capfd):
    assert sweep("estimator=arm,rloo", "run.seed=0") == 2
    out, err = capfd.readouterr()
    refused, last = err.splitlines()
    assert refused.startswith(f"{tmp_path}/arm-0: ARM is for bernoulli latents")
    assert last == f"1 of 2 runs failed, as said above: {tmp_path}/arm-0."
    assert "RLOO on digits, 10 steps" in out
    assert not (tmp_path / "arm-0").exists()


def test_a_mistake_in_a_run_is_shown_whole_and_the_others_go_on(sweep, capfd, monkeypatch):
    plain = train.train
    monkeypatch.setattr(train, "train", lambda config: 1 / 0 if config.run.seed == 0 else plain(config))
    assert sweep("estimator=rloo", "run.seed=0,1") == 2
    out, err = capfd.readouterr()
    assert "ZeroDivisionError" in err
    assert "1 of 2 runs failed" in err
    assert "RLOO on digits" in out


def test_what_is_finished_is_left_as_it_is(sweep, ten, tmp_path, capfd):
    shutil.copytree(ten, tmp_path / "rloo-0")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rloo-0").iterdir()}
    assert sweep("estimator=rloo", "run.seed=0,1", "resume=auto") == 0
    assert f"{tmp_path}/rloo-0 is finished already" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rloo-0").iterdir()} == before
    assert (tmp_path / "rloo-1" / "result.json").exists()
    assert sweep("estimator=rloo", "run.seed=0", "resume=false") == 2
    assert "nothing is overwritten" in capfd.readouterr().err


def test_only_the_same_run_counts_as_finished(begun):
    config = configure(begun)

    def finished(change=""):
        return train.finished(OmegaConf.merge(config, OmegaConf.from_dotlist([change] if change else [])))

    assert all(map(finished, ("", "schedule=null", "threads=1", "resume=auto", "run.log_every=7")))
    assert not any(map(finished, ("run.steps=11", "task.bound_samples=3", "run.seed=1", "optimizer.lr=0.1")))
    (begun / "learning_curve.png").unlink()
    assert not finished()  # stopped before its pictures were drawn
    (begun / "learning_curve.png").touch()
    (begun / "result.json").write_text('{"step"')
    assert not finished()


def test_a_launcher_that_is_not_installed_is_a_sentence(sweep, tmp_path, capfd):
    assert sweep("hydra/launcher=nowhere", "run.seed=0") == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "Could not find 'hydra/launcher/nowhere'" in err
    assert "need the extra sweep: pip install" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_sweep_and_says_how_to_go_on(number, sweep, capfd, monkeypatch):
    def stop(config):
        assert config.run.seed == 0  # no other begins
        signal.raise_signal(number)

    before = signal.getsignal(number)
    monkeypatch.setattr(train, "train", stop)
    assert sweep("estimator=rloo", "run.seed=0,1") == 128 + number
    _, err = capfd.readouterr()
    assert err.startswith("stopped; go on with\n  python -m experiments.train --config-path")
    assert err.rstrip().endswith("resume=auto")
    assert signal.getsignal(number) is before


def test_a_folder_has_one_process_at_a_time(tmp_path):
    with many.alone(tmp_path / "run"), pytest.raises(UserError, match="another process trains in"):
        train.train(configure(tmp_path / "run"))
    with many.alone(tmp_path / "run"):
        pass


def test_jobs_share_the_cores(tmp_path, monkeypatch):
    class Built(Exception):
        pass

    def build(config, world):
        raise Built

    set_to = []
    monkeypatch.setattr(train, "build", build)
    monkeypatch.setattr(train, "cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    for choice in (["jobs=3"], ["jobs=16"], ["threads=5", "jobs=3"], ["jobs=null"]):
        with pytest.raises(Built):
            train.train(configure(tmp_path, *choice))
    assert set_to == [2, 1, 5]
    with pytest.raises(UserError, match="jobs must be an integer of at least 1"):
        train.train(configure(tmp_path, "jobs=0"))


@pytest.fixture
def full():
    """A disk that takes 4,000 bytes a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))

    def free():
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    yield fill, free
    free()


def test_a_full_disk_costs_no_more_than_the_steps_since_the_checkpoint(begun, full, twenty):
    fill, free = full
    longer = configure(begun, "run.steps=20", "resume=auto")
    fill()
    try:
        with pytest.raises(UserError, match=r"cannot be written .*free space .*holds step 10"):
            train.train(longer)
    finally:
        free()
    assert torch.load(begun / "checkpoint.pt", weights_only=True)["step"] == 10
    assert not list(begun.glob(".*"))
    train.train(longer)
    assert equal(content(begun), twenty)


def test_a_file_that_cannot_be_written_is_a_sentence(begun, monkeypatch, twenty):
    def refusing(name, code, path, *arguments):
        if f".{name}." in Path(path).name:
            raise OSError(code, "the test's", str(path))
        return open(path, *arguments)

    longer = configure(begun, "run.steps=20", "resume=auto")
    refused = {"checkpoint.pt": errno.EROFS, "metrics.csv": errno.ENOSPC, "result.json": errno.EACCES}
    for name, code in refused.items():
        with monkeypatch.context() as patch:
            patch.setattr(discretegrad.files, "open", functools.partial(refusing, name, code), raising=False)
            with pytest.raises(UserError, match=r"cannot be written .*free space or mend its rights"):
                train.train(longer)
    train.train(longer)
    assert equal(content(begun), twenty)


def test_a_damaged_checkpoint_is_a_sentence_and_left_as_it_is(begun):
    path = begun / "checkpoint.pt"
    whole = path.read_bytes()
    for damage in (whole[:-500], b"", b"no checkpoint", bytes(len(whole))):
        path.write_bytes(damage)
        before = {file: file.read_bytes() for file in begun.iterdir()}
        with pytest.raises(UserError, match=r"checkpoint\.pt cannot be read .*restore it, or start anew") as error:
            train.train(configure(begun, "run.steps=20", "resume=auto"))
        assert "\n" not in str(error.value)
        assert {file: file.read_bytes() for file in begun.iterdir()} == before


def test_an_outcome_names_the_step_of_a_stop(tmp_path):
    def stop(config):
        raise Interrupted(7, signal.SIGINT)

    outcome = many.attempt_or_stop(configure(tmp_path), stop)
    assert outcome == (str(tmp_path), "stopped", "stopped at step 7")
    assert json.loads(json.dumps(outcome)) == [*outcome]


@pytest.mark.slow
def test_a_run_and_a_sweep_that_are_killed_at_any_moment_go_on_bit_for_bit():
    command = [sys.executable, "-m", "benchmarks.kills", "--times", "3", "--steps", "80", "--of", "run", "sweep"]
    said = subprocess.run(command, cwd=CONF.parent, capture_output=True, text=True, check=True).stdout
    assert "run: 3 of 3 went on bit for bit" in said
    assert "sweep: 3 of 3 went on bit for bit" in said
