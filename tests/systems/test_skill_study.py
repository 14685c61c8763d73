"""The studies of paths and of what has been read: their runs, look-ups and margins by hand, a page of what is there."""

import pytest
from test_conf import CONF

from experiments.errors import UserError
from experiments.studies.skill import arms, arms_page, page, variance
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


def asked(arm, seed, one, two, split="cities", **others):
    named = {"split": split, "arm": arm, "seed": seed, "held_out_1": one, "held_out_2": two, "majority_1": 0.15}
    named |= {"read_steps": 2000, "asked_steps": 600, "read_seconds": 120, "asked_seconds": 60} | others
    return {name: str(named.get(name, "")) for name in arms.COLUMNS}


MODELS = ["model.sizes.d_model=16", "model.sizes.d_kv=4", "model.sizes.d_ff=16", "model.sizes.num_layers=1"]
MODELS += ["model.sizes.num_decoder_layers=1", "task.vocabulary=400", "task.length=16", "data.cities=110", "device=cpu"]
MODELS += ["data.hops=[1]", "run.steps=2", "run.batch=8", "run.evaluate_most=20"]


def test_every_arm_starts_where_its_text_has_been_read(tmp_path):
    """And every seed from its own start, which all its arms share."""
    found = [*arms.trials((0, 1))]
    assert len({*found}) == len(found) == 2 * 2 * 4
    for trial in found:
        reading = arms.composed(trial.reading, [], tmp_path)
        asking = arms.composed(trial, [], tmp_path)
        assert asking.model.start == reading.run.dir and asking.data.split == trial.split
        assert reading.run.seed == asking.run.seed == trial.seed
        start = None if trial.arm == "start" else str(tmp_path / "read" / f"start-seed{trial.seed}")
        assert reading.model.start == start
        assert reading.task.arm == ("text" if trial.arm == "start" else trial.arm)
        assert reading.data.cities == asking.data.cities  # of the same graph


def test_arms_are_carried_out_once_and_keep_their_rows(tmp_path):
    """The start is read once for both; what is done is not done again."""
    few = [*MODELS, f"data.cache={tmp_path / 'cache'}"]
    for arm in ("start", "triples", "triples"):
        arms.keep(arms.carry_out(arms.Trial(arm, 1, "countries"), few, tmp_path), tmp_path / arms.ROWS)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/result.json")}
    assert len(written) == 4
    start, triples = read(tmp_path / arms.ROWS)
    assert (start["arm"], triples["arm"], triples["seed"], triples["split"]) == ("start", "triples", "1", "countries")
    assert all(0 <= float(row[name]) <= 1 for row in (start, triples) for name in ("known", "held_out_1", "majority_1"))
    arms.carry_out(arms.Trial("triples", 1, "countries"), few, tmp_path)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/result.json")}


def test_what_was_to_be_shown_is_told_from_margins_by_seed(tmp_path):
    rows = [
        *(asked("start", seed, one, 0.2) for seed, one in enumerate((0.1, 0.2))),
        *(asked("text", seed, one, 0.2) for seed, one in enumerate((0.2, 0.3))),
        *(asked("triples", seed, one, two) for seed, (one, two) in enumerate(((0.4, 0.24), (0.5, 0.30)))),
        *(asked("sentences", seed, one, 0.2) for seed, one in enumerate((0.39, 0.5))),
        asked("triples", 0, 0.9, 0.9, split="countries"),
    ]
    for each in rows:
        arms.keep(each, tmp_path / arms.ROWS)
    rows = read(tmp_path / arms.ROWS)
    found = arms_page.claims(rows, "cities", {"0": 0.9, "1": 0.94})
    assert [claim[1:] for claim in found] == [
        ("3.00 times, 15.0 ± 5.0 above 2 times", "yes"),  # 40 - 2 * 10 and 50 - 2 * 20
        ("1.80 times, -5.0 ± 5.0 above 2 times", "no"),  # 0 and -10
        ("0.5 ± 0.5 above", "yes"),
        ("7.0 ± 3.0 above", "no"),
        ("65.0 ± 3.6 above", "yes"),  # 92 ± 2 and 27 ± 3
    ]
    assert not arms_page.claims(rows, "countries", {})
    *lines, frequent = arms_page.table(rows, "cities")
    assert [line["arm"] for line in lines] == [*arms_page.TITLES.values()]
    assert lines[2]["held_out_1"] == "45.0 ± 5.0" and frequent["held_out_1"] == "15.0"
    keep(made(), tmp_path / ROWS)
    page.write(tmp_path)
    text = (tmp_path / "skill.md").read_text()
    assert "### Held out: countries" in text and "To read took 2,000 steps and 2 minutes" in text.replace("\n", " ")


def test_a_sweep_over_seeds_starts_each_from_its_own():
    """As the experiment's commands say."""
    config = arms.composed_of(["experiment=skill_pretraining", "model.start=runs/start-seed${run.seed}", "run.seed=3"])
    assert config.model.start == "runs/start-seed3" and config.task.model.start == "runs/start-seed3"
