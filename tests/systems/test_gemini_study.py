"""The study of tokens: passes are as stated, runs are trained once, times and means by hand."""

import csv
from pathlib import Path

import pytest

from experiments.errors import UserError
from experiments.studies.gemini import page
from experiments.studies.gemini.runs import COLUMNS, METHODS, ROWS, Trial, carry_out, composed, keep, trials
from experiments.systems.gemini.stages import PASSES
from experiments.train import build

SMALL = ["+tiny=gemini", "run.evaluate_every=2", "device=cpu"]


@pytest.mark.parametrize("method", METHODS)
def test_two_stages_have_as_many_passes_as_a_joint_run(method, tmp_path):
    """Of decoder and language model; of the encoder more."""
    found = []
    for own in ("joint, RLOO(2)", method):
        task = build(composed(Trial(own, 10, 0), SMALL, tmp_path)).task
        steps = composed(Trial(own, 10, 0), SMALL, tmp_path).run.steps
        points = METHODS[own].points or 2
        found.append(task.stages.passes(steps, 10, points))
        if task.model.sampled:
            assert task._points == points
    joint, other = found
    assert other["decoder_passes"] == joint["decoder_passes"]
    assert joint["language_passes"] <= other["language_passes"] <= joint["language_passes"] + 20
    assert other["encoder_passes"] >= joint["encoder_passes"]


def test_every_run_is_there_once():
    found = list(trials([*METHODS], (0, 1), 100))
    assert len({trial.folder for trial in found}) == len(found) == 2 * len(METHODS)
    assert [trial.seed for trial in found] == [0] * len(METHODS) + [1] * len(METHODS)


def test_runs_are_trained_once_kept_and_shown(tmp_path, monkeypatch):
    done = [Trial("joint, RLOO(2)", 4, 0), Trial("two stages, VQ", 4, 0)]
    for trial in done:
        keep(carry_out(trial, composed(trial, SMALL, tmp_path)), tmp_path / ROWS)
    before = (tmp_path / ROWS).read_text()
    monkeypatch.setattr("experiments.studies.trials.train", None)
    for trial in done:
        keep(carry_out(trial, composed(trial, SMALL, tmp_path)), tmp_path / ROWS)
    assert (tmp_path / ROWS).read_text() == before
    rows = list(csv.DictReader(before.splitlines()))
    assert [(row["method"], row["step"]) for row in rows if row["images"] == "all"] == [
        ("joint, RLOO(2)", "4"),
        ("two stages, VQ", "14"),
    ]
    page.write(tmp_path)
    text = (tmp_path / "gemini.md").read_text()
    assert "| two stages, VQ | 1 |" in text and "| joint, RLOO(2) | two stages, VQ |" in text
    assert next((tmp_path / "figures").glob("*.png")).stat().st_size > 1000


def row(method, seed, seconds, bound, images="some"):
    values = {"method": method, "seed": str(seed), "seconds": str(seconds), "test_bound": str(bound), "images": images}
    return dict.fromkeys(COLUMNS, "1") | values


def test_times_and_means_by_hand():
    joint, other = "joint, RLOO(2)", "two stages, VQ"
    rows = [row(joint, 0, 10, -9), row(joint, 0, 20, -8), row(joint, 0, 30, -7), row(joint, 0, 30, -6, "all")]
    rows += [row(joint, 1, 21, -5), row(joint, 1, 40, -1), row(joint, 1, 40, -4, "all")]
    rows += [row(other, seed, 25, bound) for seed, bound in ((0, -10), (1, -11))]
    assert page.at_seconds(rows[:3], 25) == -8
    assert page.at_seconds(rows[:3], 9) is None
    [found] = page._times(rows)
    assert found["own"].startswith("-6.5") and found["last"].startswith("-10.5") and found["lead"].startswith("4")
    [mean] = page._table(rows, ("test_bound",))
    assert mean["test_bound"] == "-5 ± 1" and mean["seeds"] == "2"
    assert all(mean[name].startswith("1") for name in PASSES)


def test_a_page_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no rows yet"):
        page.write(Path(tmp_path))
