"""The benchmarks run, in miniature; their statistics, files and transcriptions are right. No speed is looked at."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from calibration import assert_law

import discretegrad as dg
from benchmarks import results
from benchmarks.commits import bounded
from benchmarks.peers import by_hand, distributions, masks
from benchmarks.peers.__main__ import group, measure, rows_of
from benchmarks.peers.catalogue import PEERS
from benchmarks.scaling import ESTIMATORS, table_peak
from benchmarks.sizes import Setting
from benchmarks.steps import Step
from benchmarks.timing import in_turns, median, ratio, time_rows
from discretegrad.memory import peak

ROOT = Path(__file__).parents[2]
MINIATURE = {**os.environ, "BENCH_SMALL": "1", "BENCH_THREADS": "1"}
SMALL = Setting(3, 4, batch=5)
LAWS = 2
"""Comparisons in this file: its false alarms are at most 1e-6."""


def run(*arguments, cwd=ROOT):
    done = subprocess.run((sys.executable, *arguments), cwd=cwd, env=MINIATURE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


BENCH = ("-m", "pytest", "benchmarks", "-q", "-p", "no:cacheprovider")


def test_every_case_runs():
    run(*BENCH, "--override-ini=addopts=--strict-markers", "--benchmark-disable")


def test_a_run_ends_in_csv_files(tmp_path):
    """Of one or two cases of each suite."""
    record = tmp_path / "bench.json"
    chosen = "bernoulli-rloo-2 or categorical-4-tree-2-points or tree and sample or own_time and iw or 10.0-arsm-plus"
    run(*BENCH, "--benchmark-only", f"--benchmark-json={record}", "-k", chosen)
    written = results.write(results.from_json(json.loads(record.read_text())), tmp_path)
    assert {path.name for path in written} == {f"{suite}-cpu.csv" for suite in ("step", "ops", "own-time", "swaps")}
    rows = results.read("step", folder=tmp_path)
    found = {(row["case"], row["implementation"], row["metric"]) for row in rows}
    for case, name in (("bernoulli, points", "rloo-2"), ("categorical-4, points", "tree-2")):
        assert {(case, name, metric) for metric in ("time", "time / limit", "peak memory")} <= found
        assert {(case, "limit", metric) for metric in ("time", "peak memory")} <= found
    assert {row["metric"] for row in results.read("ops", folder=tmp_path)} >= {"time / copy", "bandwidth"}


def test_scaling_runs(tmp_path):
    run("-m", "benchmarks.scaling", "--folder", str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"scaling-cpu.csv", "scaling.png", "memory.png"}


def test_two_processes_run(tmp_path):
    run("-m", "benchmarks.processes", "--folder", str(tmp_path))
    rows = results.read("processes", folder=tmp_path)
    metrics = {(row["implementation"], row["metric"]) for row in rows}
    assert ("2 processes", "examples per second / 1 process, 1 thread") in metrics
    assert ("2 processes", "examples per second / 1 process, 2 threads") in metrics
    assert ("sum of the gradients", "time / step of 2 processes") in metrics


def test_two_checkouts_are_compared():
    lines = run("-m", "benchmarks.commits", str(ROOT), "--processes", "1").splitlines()
    cells = dict(line.strip("| ").split(" | ", 1) for line in lines[2:])
    assert {f"step / limit, C=4, B=3: {name}" for name in ("RLOO(2)", "tree", "RLOO(2) by hand")} <= cells.keys()
    assert all(float(number) > 0 for row in cells.values() for number in row.split(" | "))


def ratios_of(*command):
    """The first column of the table that a benchmark prints, and the ratio in its last."""
    cells = [line.strip("| ").split(" | ") for line in run("-m", *command).splitlines()[2:]]
    return {first: float(last.split(" +- ")[0]) for first, *_, last in cells}


def test_the_dearest_cells_run():
    ratios = ratios_of("benchmarks.cells", "carms-2", "rodeo-network-2")
    assert ratios.keys() == {"carms-2", "rodeo-network-2"}
    assert all(ratio > 0 for ratio in ratios.values())


def test_towers_by_groups_run():
    ratios = ratios_of("benchmarks.towers")
    assert ratios.keys() == {"192", "96", "48", "24"}
    assert all(ratio > 0 for ratio in ratios.values())


@pytest.mark.parametrize(("values", "said"), [((1.5,), "1.500"), ((1.0, 1.2), "1.100 (1.731)")])
def test_the_upper_end_of_an_interval_between_processes(values, said):
    """Student's t with one degree of freedom has its 95 % point at 6.314: 1.1 + 6.314 * .1."""
    assert bounded(values) == said


def test_cliffs_run(tmp_path):
    """Also as a file, as an older checkout is measured: all that it imports is found by PYTHONPATH."""
    run(str(ROOT / "benchmarks" / "cliffs.py"), "--folder", str(tmp_path), cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"cliffs-cpu.csv", "cliffs-cpu.png"}
    rows = results.read("cliffs", folder=tmp_path)
    for name in ("RLOO", "DisARMTree", "SB, ascending", "IW", "Flow"):
        found = {row["metric"] for row in rows if row["implementation"] == f"{name}, masked"}
        assert found >= {"time / RLOO by hand", "time / without mask", "memory beyond logits and gradient"}


@pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.package is None])
def test_rows_of_the_peers_table_run(name):
    step = Step(SMALL, PEERS[name].inputs)
    before = [parameter.detach().clone() for parameter in step.model.parameters()]
    PEERS[name].build(step)()
    assert all((old != new).any() for old, new in zip(before, step.model.parameters(), strict=True))


def test_a_package_that_is_not_there_stays_in_the_table(monkeypatch):
    if importlib.util.find_spec("storch") is not None:
        pytest.skip("it is there")
    monkeypatch.setenv("BENCH_THREADS", "1")  # of the rows' processes
    names = ["limit, 2 points", "RLOO(2)", "RLOO, storchastic"]
    table = measure(names, SMALL, budget=0.01)
    rows = {(row["implementation"], row["metric"]): row for row in rows_of({"suite": "peers"}, table)}
    assert ("RLOO, storchastic (not installed)", "not run: ModuleNotFoundError: No module named 'storch'") in rows
    assert rows["RLOO(2)", "time / limit"]["value"] == pytest.approx(
        ratio(table["RLOO(2)"], table["limit, 2 points"]).value
    )


def test_every_row_is_in_a_group_with_ours_and_the_limit():
    own = [name for name, peer in PEERS.items() if peer.ours == name]
    assert {name for one in own for name in group(one)} == set(PEERS)
    assert all({PEERS[name].points for name in group(one)} == {PEERS[one].points} for one in own)


def test_by_hand_is_leave_one_out():
    """The same gradient as RLOO's from the same points."""
    logits = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(3, 5, dtype=torch.float64)
    log_probs = logits.log_softmax(-1)
    ids = by_hand.sample(log_probs, 3)
    ours = dg.functional.rloo(logits, ids, values)
    theirs = by_hand.surrogate(values, by_hand.log_prob(log_probs, ids))
    found, expected = (torch.autograd.grad(one.sum(), logits)[0] for one in (theirs, ours))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [by_hand.loss, distributions.loss])
def test_written_losses_are_those_of_the_model(loss):
    """The same loss and gradients as the library's step, where all draw the same points: there is one category."""
    step = Step(Setting(3, 1, batch=5))
    logits = step.logits()
    estimator = dg.RLOO(2)
    draw = estimator.sample(logits)
    ours = -estimator.surrogate(draw, step.values(draw.points, logits)).mean()
    parameters = list(step.model.parameters())
    expected, found = (torch.autograd.grad(one, parameters, allow_unused=True) for one in (ours, loss(step)))
    torch.testing.assert_close(loss(step), ours)
    decoder = [name.startswith("decoder") for name, _ in step.model.named_parameters()]
    for one, other, compared in zip(found, expected, decoder, strict=True):
        if compared:
            torch.testing.assert_close(one, other)


TREES = {
    "balanced": (masks.balanced, dg.Tree(), dg.functional.disarm_tree),
    "sticks": (masks.sticks, dg.StickBreaking(), dg.functional.disarm_sb),
}


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("categories", [2, 4, 8])
def test_masks_give_the_same_gradient(tree, categories):
    """As the library's estimator from the same pairs and values."""
    make, _, function = TREES[tree]
    logits = torch.randn(200, 3, categories, dtype=torch.float64, requires_grad=True)
    values = torch.randn(2, 200, dtype=torch.float64)
    nodes = masks.node_logits(logits, make(categories))
    ids = masks.sample(nodes, make(categories))
    signal = masks.signal(nodes, make(categories), ids, values)
    expected = torch.autograd.grad(function(logits, ids, values).sum(), logits)[0]
    found = torch.autograd.grad((signal * nodes).sum(), logits)[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tree", TREES)
def test_masks_draw_the_same_pairs(tree):
    """From the law that the library's coupling states; a difference of 0.02 would be noticed."""
    make, coupling, _ = TREES[tree]
    logits = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64)
    nodes = masks.node_logits(logits, make(4)).expand(400_000, 3)
    first, second = masks.sample(nodes, make(4))
    law = coupling.draw(logits).pair_law().flatten()
    assert_law(4 * first + second, law, LAWS)


def test_masks_are_refused_off_powers_of_two():
    with pytest.raises(ValueError, match="power of two, not 6"):
        masks.balanced(6)


def test_ratios_are_taken_within_rounds():
    """A machine that becomes ten times slower between two rounds, and back, changes no ratio."""
    slow = [1.0, 10.0, 1.0, 10.0, 1.0]
    assert ratio([1.5 * s for s in slow], [1.0 * s for s in slow]) == (1.5, 0.0)
    assert median([3.0, 1.0, 2.0]).value == 2.0
    assert median([2.0, 2.0]) == (2.0, 0.0)


def test_the_error_of_a_median_is_that_of_medians():
    """Of 401 normal numbers: sqrt(pi / 2 / 401) = 0.0626; the bootstrap's own spread is within a third of it."""
    numbers = torch.randn(401, generator=torch.Generator().manual_seed(5)).tolist()
    assert 0.042 < median(numbers).error < 0.083


def test_timers_take_turns():
    called = []
    seconds = in_turns({"a": lambda: called.append("a") or 1.0, "b": lambda: called.append("b") or 2.0}, budget=0.0)
    assert called == ["a", "b"] * (len(called) // 2)
    assert set(seconds["a"]) == {1.0} and set(seconds["b"]) == {2.0} and len(seconds["a"]) == len(seconds["b"])


def test_rows_hold_ratios_to_each_base_once():
    rows = time_rows({"suite": "x"}, {"a": [2.0, 2.0], "b": [1.0, 1.0], "c": [4.0, 4.0]}, over=["c", "b"])
    ratios = {(row["implementation"], row["metric"]): row["value"] for row in rows if row["metric"] != "time"}
    assert ratios == {("a", "time / c"): 0.5, ("a", "time / b"): 2.0, ("b", "time / c"): 0.25}


def test_peak_counts_what_is_held_at_once():
    def two_then_one() -> float:
        first = torch.zeros(1000)
        second = first + 1
        del first
        return float((second * 2).sum())

    assert 8000 <= peak(two_then_one) < 8200
    assert peak(lambda: None) == 0


def test_peak_memory_of_a_gpu_is_that_of_the_device_that_is_asked_for(monkeypatch):
    asked = []
    for name in ("synchronize", "memory_allocated", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None, name=name: asked.append(device) or len(name))
    assert peak(lambda: None, torch.device("cuda:1")) == len("max_")
    assert set(asked) == {torch.device("cuda:1")}


@pytest.mark.parametrize("name", ["RLOO", "Tree"])
def test_memory_with_ids_does_not_grow_with_evaluations_times_categories(name):
    """One-hots of 256 categories take 256 numbers an evaluation and variable; with ids it is less than half of that."""
    sizes = Setting(8, 256, batch=20)
    growth = {}
    for given in ("ids", "one-hots"):
        few, many = (table_peak(ESTIMATORS[name](points), sizes, given) for points in (16, 32))
        growth[given] = (many - few) / 16 / (8 * 20) / 4
    assert growth["ids"] < 128
    assert growth["one-hots"] > 256


def test_results_are_written_whole_or_not_at_all(tmp_path):
    good = {**results.provenance(), "suite": "one", "case": "x", "metric": "time", "value": 1 / 3, "unit": "s", "C": 4}
    (path,) = results.write([good], tmp_path)
    (row,) = results.read("one", folder=tmp_path)
    assert (row["value"], row["C"], row["V"], row["error"]) == (0.3333, 4, None, None)
    assert row["device"].startswith("cpu (") and tuple(row) == results.COLUMNS
    before = path.read_text()
    for bad in ({**good, "surprise": 1}, {key: good[key] for key in good if key != "suite"}):
        with pytest.raises(ValueError, match="a row of results needs a suite"):
            results.write([good, {**good, "case": "y"}, bad], tmp_path)
    assert path.read_text() == before
    results.write([{**good, "suite": "two"}], tmp_path)
    assert path.read_text() == before  # a run leaves what it did not measure
    assert {path.name for path in tmp_path.iterdir()} == {"one-cpu.csv", "two-cpu.csv"}


def test_json_of_other_runs_is_refused():
    with pytest.raises(ValueError, match="no provenance"):
        results.from_json({"benchmarks": []})
    with pytest.raises(ValueError, match="no results"):
        results.from_json({"provenance": {}, "benchmarks": [{"extra_info": {}}]})


def test_committed_results_can_be_read():
    for path in results.FOLDER.glob("*.csv"):
        suite, _, kind = path.stem.rpartition("-")
        rows = results.read(suite, kind)
        assert rows and tuple(rows[0]) == results.COLUMNS
        assert all(
            row["suite"] == suite and row["git_sha"] and row["device"].startswith(("cpu (", "NVIDIA")) for row in rows
        )
