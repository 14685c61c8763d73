"""The study of knowledge prompts: every run once, after those that it starts from; rows and ratios by hand."""

import pytest

from experiments.errors import UserError
from experiments.studies.knowledge_prompts import maps, page, runs, times
from experiments.studies.knowledge_prompts.runs import COLUMNS, FLOATS, Trial, carry_out, composed, keep, trials
from experiments.studies.trials import read


def test_every_run_is_there_once_after_those_that_it_starts_from(tmp_path):
    for part, count in (("prompts", 4), ("codes", 5), ("linking", 6)):
        found = [*trials(part, (0, 1))]
        assert len({*found}) == len(found) == 1 + 2 * count
        folders = [trial.folder(tmp_path) if trial.part != "start" else tmp_path / "start" for trial in found]
        for place, trial in enumerate(found):
            config = composed(trial, ["data.entities=40", "data.texts=100"], tmp_path)
            assert config.run.dir == str(folders[place])
            needed = [config.model.start, config.task.get("memory")]
            assert all(str(folder) in map(str, folders[:place]) for folder in needed if folder)
            if trial.part == "codes" and trial.variant not in ("disarm_tree", FLOATS):
                assert config.estimator.num_samples == 2


def test_codes_stand_beside_as_many_vectors_of_the_same_entities(tmp_path):
    chosen = [trial for trial in trials("codes", (1,)) if trial.part == "codes"]
    vectors, *codes = [composed(trial, [], tmp_path) for trial in chosen]
    assert chosen[0].variant == FLOATS and vectors.task._target_.endswith("PromptsTask")
    for code in codes:
        assert code.task._target_.endswith("CodesTask") and code.data == vectors.data
        assert (code.task.prompts, code.run.seed, code.model.start) == (8, 1, vectors.model.start)
    assert vectors.task.prompts == 8


def test_rows_have_the_figures_of_their_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "result_of", lambda config: {"step": 7, "em": 0.25, "seconds": 3.0, "other": 1.0})
    trial, others = Trial("prompts", "4", 1), [Trial("codes", name, 1) for name in ("rloo", FLOATS)]
    row, *rows = [carry_out(own, composed(own, [], tmp_path)) for own in (trial, *others)]
    assert [own["bytes"] for own in (row, *rows)] == ["2048", "4", "4096"]
    assert (row["part"], row["variant"], row["seed"], row["steps"], row["em"]) == ("prompts", "4", "1", "7", "0.25")
    assert tuple(row) == COLUMNS and row["accuracy"] == ""
    path = tmp_path / "rows.csv"
    keep(row, path)
    keep(row | {"em": "0.5"}, path)
    keep(row | {"seed": "2"}, path)
    assert [(own["seed"], own["em"]) for own in read(path)] == [("1", "0.5"), ("2", "0.25")]


def row(part, variant, seed, **figures):
    given = Trial(part, variant, seed)._asdict() | {"steps": 7, "seconds": 60, "train_loss": 1} | figures
    return {name: str(given.get(name, "")) for name in COLUMNS}


def test_the_page_says_what_holds_seed_by_seed(tmp_path):
    rows = [row("start", "", 0, steps=4000, seconds=120)]
    for seed, em in enumerate((0.5, 0.6)):
        learned = {"em": em, "em_other": 0.3, "em_without": 0.0, "em_majority": 0.04, "same_class": 0.2}
        rows.append(row("prompts", "4", seed, **learned, same_class_chance=0.1, held_out_em=0.01, bytes=2048))
        rows.append(row("codes", FLOATS, seed, em=em, bytes=4096))
        rows.append(row("codes", "rloo", seed, em=em - 0.1, bytes=4))
        rows.append(row("linking", "disarm_tree", seed, em=0.4, em_right=0.45, accuracy=0.8, accuracy_2=0.9))
    for each in reversed(rows):
        keep(each, tmp_path / runs.ROWS)
    found = {claim.aim: (claim.found, claim.holds) for claim in page.claims(read(tmp_path / runs.ROWS))}
    assert found == {
        "learned facts: 4 vectors over none, at least 2 times": ("over nothing, 55.0 ± 5.0 above 2 times", "yes"),
        "learned facts: 4 vectors over another's, at least 2 times": ("1.83 times, -5.0 ± 5.0 above 2 times", "no"),
        "nearest prompts of one class, over chance, at least 3 times": ("2.00 times, -10.0 above 3 times", "no"),
        "32 bits by RLOO(2) over vectors, at least 0.8 times": ("0.82 times, 1.0 ± 1.0 above 0.8 times", "yes"),
        "links by DisARMTree(1 pair) over the right entity, at least 0.9 times": (
            "0.89 times, -0.5 above 0.9 times",
            "no",
        ),
    }
    page.write(tmp_path)
    text = (tmp_path / "knowledge_prompts.md").read_text()
    assert "| 4 vectors | 2 | 2,048 | 55.0 ± 5.0 | 30.0 | 0.0 | 4.0 | - |" in text
    assert "| start | 1 | 4,000 | 2.0 |" in text and "| 90.0 | - | - | - | 80.0 | - | - |" in text
    assert "![Prompts" not in text
    with pytest.raises(UserError, match="has no runs"):
        page.write(tmp_path / "empty")
    with pytest.raises(UserError, match="holds no finished run"):
        maps.write(tmp_path, tmp_path)


def test_prompts_of_a_run_are_drawn(tmp_path):
    trial = Trial("prompts", "4", 0)
    tiny = ["+tiny=knowledge_prompts", "model.start=null", "run.steps=2", "device=cpu", f"data.cache={tmp_path}"]
    carried = carry_out(trial, composed(trial, tiny, tmp_path))
    maps.write(tmp_path, tmp_path)
    assert (tmp_path / maps.FIGURE).stat().st_size > 10_000
    keep(carried, tmp_path / runs.ROWS)
    page.write(tmp_path)
    assert f"![Prompts in the plane, by class]({maps.FIGURE})" in (tmp_path / "knowledge_prompts.md").read_text()


def test_times_are_ratios_to_the_smallest_sparse_table():
    found = times.ratios((20, 40), rounds=3)
    assert {*found} == {(name, count) for name in ("sparse", "dense") for count in (20, 40)}
    assert found["sparse", 20] == 1 and all(ratio > 0 for ratio in found.values())
