"""The study of CroBIM: parts are added one by one, runs are trained once, differences by hand."""

import csv

import pytest

from experiments.errors import UserError
from experiments.studies.crobim import page
from experiments.studies.crobim.runs import COLUMNS, METHODS, ROWS, Trial, carry_out, composed, keep, trials
from experiments.train import build

SMALL = ["+tiny=crobim", "data.scenes=8", "data.held_out=6", "device=cpu"]


def test_parts_are_added_one_by_one_and_windows_to_all_of_them(tmp_path):
    sizes = {}
    for method in METHODS:
        config = composed(Trial(method, 0), ["device=cpu"], tmp_path)
        sizes[method] = (config.model.prompts > 0, config.model.guided, config.model.layers > 0, config.model.glimpses)
    assert [sizes[name] for name in ("base", "+ CAPM", "+ LGFA", "+ MID")] == [
        (False, False, False, 0),
        (True, False, False, 0),
        (True, True, False, 0),
        (True, True, True, 0),
    ]
    assert all(size == (True, True, True, 1) for name, size in sizes.items() if name.startswith("window"))


def test_every_run_is_there_once(tmp_path):
    found = list(trials([*METHODS], (0, 1)))
    folders = {composed(trial, ["device=cpu"], tmp_path).run.dir for trial in found}
    assert len(folders) == len(found) == 2 * len(METHODS)


def test_runs_are_trained_once_kept_and_shown(tmp_path, monkeypatch):
    # The size to try has windows of its own, which base has not.
    done = [(Trial("base", 0), [*SMALL, "model.glimpses=0"]), (Trial("window, RLOO(2)", 0), SMALL)]
    for trial, small in done:
        keep([carry_out(trial, composed(trial, small, tmp_path))], tmp_path / ROWS)
    before = (tmp_path / ROWS).read_text()
    monkeypatch.setattr("experiments.studies.trials.train", None)
    for trial, small in done:
        keep([carry_out(trial, composed(trial, small, tmp_path))], tmp_path / ROWS)
    assert (tmp_path / ROWS).read_text() == before
    rows = list(csv.DictReader(before.splitlines()))
    assert [row["method"] for row in rows] == ["base", "window, RLOO(2)"]
    assert all(float(row["multiply_adds"]) > 0 for row in rows)
    page.write(tmp_path)
    text = (tmp_path / "crobim.md").read_text()
    assert "| window, RLOO(2) | 1 |" in text and "## referring, 6 steps" in text


def test_multiply_adds_are_those_of_what_is_served(tmp_path):
    """Counted by hand for the layer that decodes a window, which the rest of the network does not have."""
    from experiments.studies.crobim.runs import multiply_adds

    counts = {}
    for hidden in (4, 5):
        config = composed(Trial("window, RLOO(2)", 0), [*SMALL, f"model.hidden={hidden}", "model.glimpses=1"], tmp_path)
        counts[hidden] = multiply_adds(config)
        task = build(config).task
        inputs, width, pixels = task.model.closer.first.in_channels, config.model.width, config.model.crop**2
        own = pixels * 9 * (inputs * hidden + hidden * hidden + hidden) + 2 * hidden * width
        counts[hidden] -= own / 1e6
    assert counts[4] == pytest.approx(counts[5], abs=1e-9)


def test_differences_by_hand():
    def row(method, seed, overlap):
        return dict.fromkeys(COLUMNS, "1") | {"method": method, "seed": str(seed), "miou": str(overlap)}

    rows = [row("base", 0, 10), row("base", 1, 20), row("+ CAPM", 0, 12), row("+ CAPM", 1, 26), row("+ MID", 0, 15)]
    found = {(line["method"], line["other"]): line for line in page.differences(rows)}
    assert found["+ CAPM", "base"]["miou"] == "4 ± 2" and found["+ CAPM", "base"]["seeds"] == "2"
    assert found["+ MID", "base"]["miou"] == "5"
    assert set(found) == {("+ CAPM", "base"), ("+ MID", "base")}


def test_a_page_without_rows_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no rows yet"):
        page.write(tmp_path)
