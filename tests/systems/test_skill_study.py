"""The study of paths: its runs, look-ups by hand, a page of what is there."""

import pytest
from test_conf import CONF

from experiments.engine import UserError
from experiments.studies.skill import page, variance
from experiments.studies.skill.runs import COLUMNS, METHODS, ROWS, Trial, carry_out, composed, keep, trials
from experiments.studies.trials import read
from experiments.train import build

TINY = ["+tiny=skill", "device=cpu", "run.steps=4", "run.evaluate_every=2"]


def row(method, seed, step, lookups, found):
    named = {"graph": "geonames", "method": method, "seed": seed, "step": step, "lookups": lookups, "held_out": found}
    return {name: str(named.get(name, 0.5)) for name in COLUMNS}


def made():
    """A ceiling of 0.9: 0.81 is reached by one of two runs, at 2,000 look-ups."""
    runs = [("supervised", 0, 0.9, 0.9), ("RLOO(8)", 0, 0.2, 0.81), ("RLOO(8)", 1, 0.2, 0.8), ("Exact", 0, 0.85, 0.9)]
    return [
        row(m, seed, step + 1, 1000 * (step + 1) * (m != "supervised"), own[step])
        for m, seed, *own in runs
        for step in (0, 1)
    ]


def test_look_ups_are_counted_until_most_is_found(tmp_path):
    keep(made(), tmp_path / ROWS)
    keep(made()[2:4], tmp_path / ROWS)  # again
    assert len(read(tmp_path / ROWS)) == 8
    found = page.curves(read(tmp_path / ROWS), "geonames")
    assert page.ceiling(found) == 0.9 and [*found] == ["supervised", "RLOO(8)", "Exact"]
    assert [curve.until(0.81) for curve in found["RLOO(8)"]] == [2000, None]
    lines = {line["method"]: line for line in page.table(found)}
    assert (lines["RLOO(8)"]["until"], lines["RLOO(8)"]["reached"]) == ("2", "1 of 2")
    assert (lines["Exact"]["until"], lines["Exact"]["held_out"]) == ("1", "90.0")
    page.write(tmp_path)
    text = (tmp_path / "skill.md").read_text()
    assert "| RLOO(8) | 2 | 2 | 1 of 2 |" in text and "## Variance" not in text
    assert (tmp_path / page.FIGURE).stat().st_size > 1000
    with pytest.raises(UserError, match="has no runs"):
        page.write(tmp_path / "empty")


def test_every_method_is_built_at_equal_look_ups(tmp_path):
    evaluations = {}
    for trial in trials("geonames", [0]):
        task = build(composed(trial, TINY, tmp_path)).task
        evaluations[trial.method] = task.estimator.evaluations
        assert task.supervised == (trial.method == "supervised")
    assert {evaluations[m] for m in [*METHODS][1:-2]} == {8} and METHODS.keys() == evaluations.keys()


def test_a_run_leaves_a_row_for_every_evaluation(tmp_path):
    trial = Trial("geonames", "UnorderedSet(8)", 1)
    rows = carry_out(trial, composed(trial, TINY, tmp_path))
    assert [(r["method"], r["seed"], r["step"], r["lookups"]) for r in rows] == [
        ("UnorderedSet(8)", "1", str(step), str(8.0 * 8 * step).removesuffix(".0")) for step in (2, 4)
    ]
    assert CONF.exists() and all(0 <= float(r["held_out"]) <= 1 for r in rows)


def test_variances_are_measured_at_stages(tmp_path, monkeypatch):
    monkeypatch.setattr(variance, "STAGES", {"start": 0, "half way": 1, "most found": 2})
    monkeypatch.setattr(variance, "REPLICATES", 64)
    variance.measure(tmp_path, [*TINY, f"data.cache={tmp_path}"])
    rows = read(tmp_path / variance.ROWS)
    assert len(rows) == 3 * 6 and all(float(r["variance"]) > 0 for r in rows)
    keep(made(), tmp_path / ROWS)
    page.write(tmp_path)
    assert "| RLOO(8) | 8 | 1 ± " in (tmp_path / "skill.md").read_text()
