"""Many runs in one table: means and errors by hand, and nothing is dropped in silence."""

import csv
import json
import math
import re
import sys

import pytest
import yaml
from matplotlib.figure import Figure

from experiments.collect import __main__ as command
from experiments.collect import report
from experiments.collect.groups import Mean, grouped, labels
from experiments.collect.report import written
from experiments.collect.runs import found_in, read
from experiments.errors import UserError

VAE = "experiments.systems.vae.VAETask"


def write(folder, seed, bounds, steps=20, target="RLOO", system=VAE, pace=2.0, lr=0.1, dir=None):
    """A run whose rows have these bounds at steps 10, 20, ...; finished if they reach the last step."""
    folder.mkdir(parents=True)
    estimator = {"_target_": f"discretegrad.{target}", "num_samples": 2}
    config = {
        "run": {"seed": seed, "steps": steps, "dir": dir or str(folder), "progress": seed == 0},
        "task": {"_target_": system, "estimator": estimator, "images": {"root": str(folder)}},
        "estimator": estimator, "optimizer": {"lr": lr}, "device": "auto", "resume": False, "jobs": seed + 1,
        "model": {"hidden": [8, 8]},
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"device": "cpu"}))
    rows = [
        {"step": 10 * (i + 1), "test_bound": bound, "steps_per_second": 1, "seconds": pace * (i + 1)}
        for i, bound in enumerate(bounds)
    ]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "test_bound", "steps_per_second", "seconds"])
        writer.writeheader()
        writer.writerows(rows)
    if rows and rows[-1]["step"] == steps:
        (folder / "result.json").write_text(json.dumps(rows[-1] | {"test_bound": bounds[-1] + 0.5}))
    return folder


def collect(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["collect", *map(str, arguments)])
    command.main()


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_means_and_errors_are_those_of_the_seeds(tmp_path, monkeypatch, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    for seed, last in enumerate((1.0, 2.0, 6.0)):
        write(runs / f"a{seed}", seed, [None, last], pace=1.0 + seed)
    write(runs / "b" / "deep", 0, [4.0, 5.0], target="DisARMTree")
    collect(monkeypatch, runs, "--out", out)
    finals = {(row["group"], row["measure"]): row for row in table(out / "groups.csv")}
    found = finals["RLOO", "test_bound"]
    assert (found["seeds"], found["unit"]) == ("3", "nats per image")
    assert float(found["mean"]) == 3.5
    assert math.isclose(float(found["error"]), math.sqrt(7 / 3))  # variance of 1, 2, 6 is 7
    assert float(finals["RLOO", "seconds"]["mean"]) == 4.0
    single = finals["DisARMTree", "test_bound"]
    assert (single["seeds"], single["mean"], single["error"]) == ("1", "5.5", "")
    (point,) = [row for row in table(out / "curves.csv") if row["group"] == "RLOO"]
    assert (point["step"], point["seconds"], point["mean"]) == ("20", "4.0", "3.0")
    text, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "| `RLOO` | 3 | 3.5 ± 1.5 | 4.0 ± 1.2 |" in text
    assert "One seed only, so that no error can be given: DisARMTree." in text
    assert page.count("data:image/png;base64") == 1
    assert ">3.5 ± 1.5</td>" in page
    assert (out / "VAETask-test_bound.png").read_bytes().startswith(b"\x89PNG")
    assert "4 runs: " in capsys.readouterr().out


def damage(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "state", "note"),
    [
        ("config.yaml", None, "left out", "it has no config.yaml"),
        ("config.yaml", b"", "left out", "its config.yaml is empty"),
        ("config.yaml", b"a: [", "left out", "its config.yaml cannot be read"),
        ("config.yaml", b"a: 1", "left out", "its config.yaml is none of this version's"),
        ("metrics.csv", None, "left out", "it has no metrics.csv"),
        ("metrics.csv", b"step,test_bound\n10,x\n", "left out", "its metrics.csv cannot be read"),
        ("metrics.csv", b"", "left out", "its metrics.csv has no step"),
        ("result.json", None, "unfinished", "unfinished: step 20 of 20"),
        ("result.json", b'{"step": 2', "unfinished", "unfinished: its result.json cannot be read"),
        ("result.json", b'{"step": 10, "test_bound": 1}', "unfinished", "unfinished: step 20 of 20"),
        ("result.json", b'{"step": 20}', "left out", "its result.json has none of its measures"),
        ("result.json", b'{"step": 20, "test_bound": NaN}', "finished", "test_bound is not finite"),
        ("environment.json", None, "finished", ""),
    ],
)
def test_what_is_wrong_with_a_run_is_said(name, content, state, note, tmp_path, monkeypatch, capsys):
    write(tmp_path / "runs" / "good", 0, [1.0, 2.0])
    damage(write(tmp_path / "runs" / "bad", 1, [1.0, 4.0]), name, content)
    monkeypatch.setattr(report, "draw", lambda measure, unit, groups: Figure((0.1, 0.1)))
    collect(monkeypatch, tmp_path / "runs", "--out", tmp_path / "out")
    rows = {row["folder"]: row for row in table(tmp_path / "out" / "runs.csv")}
    bad = rows[str(tmp_path / "runs" / "bad")]
    assert bad["state"] == state
    assert note in bad["note"]
    assert (note in capsys.readouterr().err) and bad["note"] in (tmp_path / "out" / "report.md").read_text()
    means = [row["mean"] for row in table(tmp_path / "out" / "groups.csv") if row["measure"] == "test_bound"]
    if state != "finished":
        assert means == ["2.5"]
    elif note:
        assert means == ["nan"]
        assert "not finite" in (tmp_path / "out" / "report.md").read_text()


def test_unfinished_runs_are_in_no_mean_and_drawn_only_where_none_is_finished(tmp_path):
    for seed, bounds in enumerate(([1.0, 2.0], [3.0], [5.0])):
        write(tmp_path / f"a{seed}", seed, bounds)
        write(tmp_path / f"b{seed}", seed, bounds[:1], lr=0.2)
    runs = [read(folder) for folder in found_in([tmp_path])]
    first, second = grouped(runs)
    assert [point.value.mean for point in first.curve("test_bound")] == [1.0, 2.0]
    assert not second.finished
    assert not second.finals
    assert [point.value for point in second.curve("test_bound")] == [Mean(3.0, 2.0 / math.sqrt(3), 3)]
    assert [run.note for run in runs if run.state == "unfinished"] == ["unfinished: step 10 of 20"] * 5


def test_a_run_that_is_there_twice_counts_once(tmp_path):
    write(tmp_path / "a", 0, [1.0, 2.0])
    write(tmp_path / "copy", 0, [1.0, 2.0], dir="elsewhere")
    runs = [read(folder) for folder in found_in([tmp_path])]
    (group,) = grouped(runs)
    assert len(group.runs) == 1
    assert runs[1].note == f"left out: {tmp_path / 'a'} is the same run, with the same seed"


def test_systems_have_tables_of_their_own(tmp_path, monkeypatch):
    write(tmp_path / "runs" / "a", 0, [1.0, 2.0])
    write(tmp_path / "runs" / "b", 0, [1.0, 2.0], system="nowhere.Other")
    collect(monkeypatch, tmp_path / "runs", "--out", tmp_path / "out", "--title", "Two of a kind")
    text = (tmp_path / "out" / "report.md").read_text()
    assert re.findall("^##? .*", text, re.MULTILINE)[:3] == ["# Two of a kind", "## VAETask", "## Other"]
    assert "test bound, nats per image |" in text
    assert "test bound | " in text  # of whose unit nothing is known


def test_folders_without_runs_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / ".submitit").mkdir()
    (tmp_path / ".submitit" / "metrics.csv").touch()
    (tmp_path / "config.yaml").touch()  # as a report on variance has
    with pytest.raises(UserError, match="holds no run"):
        found_in([tmp_path])
    with pytest.raises(SystemExit) as end:
        collect(monkeypatch, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_labels_take_no_more_than_tells_groups_apart():
    tree = {"e._target_": "dg.Tree", "e.tree": "balanced", "task.e._target_": "dg.Tree", "lr": 1}
    loo = {"e._target_": "dg.LOO", "e.n": 2, "task.e._target_": "dg.LOO", "task.e.n": 2, "lr": 1}
    four = loo | {"e.n": 4, "task.e.n": 4}
    assert labels([tree, loo]) == ["Tree", "LOO"]
    assert labels([tree, loo, four]) == ["Tree", "LOO, e.n=2", "LOO, e.n=4"]
    assert labels([tree]) == [""]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Mean(1234.5678, 12.3, 3), "1235 ± 12"),
        (Mean(0.00123, 0.00031, 3), "0.00123 ± 0.00031"),
        (Mean(5.0, 0.0, 3), "5 ± 0"),
        (Mean(math.nan, None, 3), "not finite"),
    ],
)
def test_numbers_have_the_digits_that_their_error_leaves(value, text):
    assert written(value) == text
