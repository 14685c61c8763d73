"""What holds for every system that conf/system/ names, in its size of conf/tiny/."""

import math
import os
import re
import signal
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from test_conf import CONF, options

from experiments.engine import Interrupted
from experiments.engine.record import TIMES
from experiments.train import build, describe, train

ROOT = CONF.parent


def configure(system, folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        fixed = [f"system={system}", f"+tiny={system}", "device=cpu", f"run.dir={folder}"]
        return compose("train", [*fixed, *overrides])


def rows(run):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in run.record.rows]


def test_every_system_has_a_folder_and_a_size_to_try():
    systems = options("system")
    assert systems == options("tiny")
    assert systems == sorted(path.parent.name for path in (ROOT / "experiments" / "systems").glob("*/task.py"))
    assert all((ROOT / "experiments" / "systems" / system / "README.md").exists() for system in systems)


@pytest.mark.parametrize("system", options("system"))
def test_a_run_that_was_stopped_is_the_uninterrupted_one(system, tmp_path):
    """Stopped in the middle of a step, bit for bit; judged by finite numbers; with its pictures."""
    whole = train(configure(system, tmp_path / "whole"))
    part = build(configure(system, tmp_path / "part"))
    part.start(False, {})
    forward = part.learning.forward

    def interrupted(step):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(step)

    part.learning.forward = interrupted
    with pytest.raises(Interrupted) as stop:
        part.train()
    assert stop.value.step == 3
    resumed = train(configure(system, tmp_path / "part", "resume=true"))
    states = [run.learning.state_dict() | {"rows": rows(run)} for run in (whole, resumed)]
    torch.testing.assert_close(*[state["task"] for state in states], rtol=0, atol=0)
    assert str(states[0]) == str(states[1])

    measured = {name for name in whole.task.measures if any(row[name] is not None for row in whole.record.rows)}
    assert measured == {*whole.task.measures}
    assert all(math.isfinite(whole.result[name]) for name in measured)
    text = describe(whole)
    pictures = sorted((tmp_path / "whole").glob("*.png"))
    assert tmp_path / "whole" / "learning_curve.png" in pictures and len(pictures) > 1
    assert all(str(picture) in text and picture.stat().st_size > 1000 for picture in pictures)


@pytest.mark.parametrize("system", options("system"))
def test_noise_is_the_task_s_to_use_and_the_engine_s_to_seed(system, tmp_path):
    """The same step twice is the same loss, whatever was drawn from the global generators in between."""
    losses = []
    for _ in range(2):
        learning = build(configure(system, tmp_path / "run")).learning
        torch.rand(3)
        losses.append(learning.forward(0).loss.detach())
    assert torch.equal(*losses)


def test_the_engine_knows_no_system():
    """No model, no data set, no Hydra; and it stays small."""
    engine = ROOT / "experiments" / "engine"
    for path in engine.glob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 200, path.name
        for word in ("vae", "elbo", "image", "pixel", "encoder", "hydra", "omegaconf", "experiments.systems"):
            assert word not in text.lower(), (path.name, word)


def test_systems_never_import_systems():
    folder = ROOT / "experiments" / "systems"
    for path in folder.glob("*/*.py"):
        others = [other for other in options("system") if other != path.parent.name]
        assert not any(re.search(rf"systems\.{other}\b", path.read_text()) for other in others), path
    for path in Path(ROOT / "experiments" / "parts").glob("*.py"):
        assert "experiments.systems" not in path.read_text(), path
