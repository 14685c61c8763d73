"""An export refuses before any work; what it writes is tested in tests/extras/test_sentences.py."""

import json
import subprocess
import sys

import pytest
from test_every_system import configure

from experiments.errors import UserError
from experiments.export import export, trained
from experiments.train import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of two systems."""
    found = tmp_path_factory.mktemp("runs")
    for system in ("vae", "dual_encoder"):
        train(configure(system, found / system, "run.steps=2"))
    return found


def test_a_run_is_taken_up_with_what_it_has_learned(folder):
    run = trained(folder / "dual_encoder")
    assert not run.task.training
    result = json.loads((folder / "dual_encoder" / "result.json").read_text())
    assert run.task.evaluate()["mrr"] == pytest.approx(result["mrr"], rel=1e-6)


def test_nothing_is_overwritten_and_nothing_is_made_of_nothing(folder, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for run, out, match in (
        (folder / "dual_encoder", tmp_path / "full", "is not empty, and nothing is overwritten"),
        (folder / "dual_encoder", tmp_path / "full" / "file", "is no folder"),
        (tmp_path, tmp_path / "out", "has no config.yaml"),
        (folder / "vae", tmp_path / "out", "a run of VAETask, which has nothing to export"),
        (folder / "dual_encoder", tmp_path / "out", r"sentence_transformers must be installed .*\.\[export\]'$"),
    ):
        with pytest.raises(UserError, match=match):
            export(run, out)
    assert not (tmp_path / "out").exists()


def test_the_command_says_it_in_one_sentence(tmp_path):
    command = [sys.executable, "-m", "experiments.export", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "has no config.yaml" in done.stderr
