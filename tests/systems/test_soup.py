"""Soups: an average is that of the weights, judged as runs are, exported and started from; and refuses what it must."""

import json
import re
import sys

import pytest
import torch
from test_every_system import configure

from experiments import soup as command
from experiments.errors import UserError
from experiments.export import trained
from experiments.soup import averaged, soup
from experiments.train import build, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two from one start, and one with another tokenizer."""
    folder = tmp_path_factory.mktemp("runs")
    start, cache = f"model.start={folder / 'start'}", f"data.cache={folder / 'cache'}"
    train(configure("gemini_embedding", folder / "start", cache))
    for seed in (1, 2):
        train(configure("gemini_embedding", folder / f"run{seed}", cache, start, f"run.seed={seed}", "run.keep=[3]"))
    train(configure("gemini_embedding", folder / "other", cache, "task.vocabulary=200", "run.steps=1"))
    train(configure("gemini_embedding", folder / "another", cache, "data.pairs=40", "run.steps=1"))
    return folder


def test_an_average_is_that_of_the_weights(runs, tmp_path):
    places = [runs / "run1", runs / "run2" / "checkpoint-3.pt"]
    figures, own = soup(tmp_path / "soup", places)
    files = [runs / "run1" / "checkpoint.pt", places[1], tmp_path / "soup" / "checkpoint.pt"]
    first, second, mean = (torch.load(file, weights_only=True)["task"] for file in files)
    for name, value in mean.items():
        if name != "_extra_state":
            torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    result = json.loads((runs / "run1" / "result.json").read_text())
    assert own[0] == pytest.approx({name: result[name] for name in own[0]})
    assert json.loads((tmp_path / "soup" / "soup.json").read_text())["soup"] == figures
    assert trained(tmp_path / "soup").task.evaluate() == pytest.approx(figures)
    next_run = build(configure("gemini_embedding", tmp_path / "next", f"model.start={tmp_path / 'soup'}"))
    torch.testing.assert_close(
        next_run.task.model.tower.projection.weight, mean["model.tower.projection.weight"], rtol=0, atol=0
    )
    with pytest.raises(UserError, match=r"holds a run with soup="):
        train(configure("gemini_embedding", tmp_path / "soup", "resume=true", f"data.cache={runs / 'cache'}"))


def test_what_is_no_floating_point_number_must_be_the_same():
    states = [{"a": torch.ones(2), "n": torch.tensor(3)}, {"a": 3 * torch.ones(2), "n": torch.tensor(3)}]
    found = averaged(states, ["x", "y"])
    assert found["a"].tolist() == [2, 2] and found["n"] == 3
    with pytest.raises(UserError, match=r"or the like \(n\)"):
        averaged([states[0], states[1] | {"n": torch.tensor(4)}], ["x", "y"])
    with pytest.raises(UserError, match="y and x are of different models"):
        averaged([states[0], {"a": torch.ones(3), "n": torch.tensor(3)}], ["x", "y"])


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (("run1",), "name two runs or more"),
        (("run1", "other"), "are of different models"),
        (("run1", "another"), r"have different tokenizers or the like \(_extra_state\); let them start from one run"),
        (("run1", "nowhere"), "cannot be read"),
        (("nowhere", "run1"), "has no config.yaml"),
    ],
)
def test_what_cannot_be_averaged_is_refused(names, match, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["soup", str(tmp_path / "soup"), *(str(runs / name) for name in names)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert re.search(match, capsys.readouterr().err)
    assert not (tmp_path / "soup").exists()


def test_nothing_is_overwritten(runs, capsys, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="is there already, and nothing is overwritten"):
        soup(runs / "run1", [runs / "run1", runs / "run2"])
    places = [str(runs / "run1"), str(runs / "run2")]
    monkeypatch.setattr(sys, "argv", ["soup", str(tmp_path / "soup"), *places])
    command.main()
    assert "mean of runs" in capsys.readouterr().out
