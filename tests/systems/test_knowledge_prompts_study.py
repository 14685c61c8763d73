"""The study of knowledge prompts: every run once, after those that it starts from; rows by hand."""

from experiments.studies.knowledge_prompts import runs, times
from experiments.studies.knowledge_prompts.runs import COLUMNS, Trial, carry_out, composed, keep, trials
from experiments.studies.trials import read


def test_every_run_is_there_once_after_those_that_it_starts_from(tmp_path):
    for part, count in (("prompts", 4), ("codes", 4), ("linking", 6)):
        found = [*trials(part, (0, 1))]
        assert len({*found}) == len(found) == 1 + 2 * count
        folders = [trial.folder(tmp_path) if trial.part != "start" else tmp_path / "start" for trial in found]
        for place, trial in enumerate(found):
            config = composed(trial, ["data.entities=40", "data.texts=100"], tmp_path)
            assert config.run.dir == str(folders[place])
            needed = [config.model.start, config.task.get("memory")]
            assert all(str(folder) in map(str, folders[:place]) for folder in needed if folder)
            if part == "codes" and trial.part == part and trial.variant != "disarm_tree":
                assert config.estimator.num_samples == 2


def test_rows_have_the_figures_of_their_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "result_of", lambda config: {"step": 7, "em": 0.25, "seconds": 3.0, "other": 1.0})
    row = carry_out(Trial("prompts", "4", 1), None)
    assert (row["part"], row["variant"], row["seed"], row["steps"], row["em"]) == ("prompts", "4", "1", "7", "0.25")
    assert tuple(row) == COLUMNS and row["accuracy"] == ""
    path = tmp_path / "rows.csv"
    keep(row, path)
    keep(row | {"em": "0.5"}, path)
    keep(row | {"seed": "2"}, path)
    assert [(own["seed"], own["em"]) for own in read(path)] == [("1", "0.5"), ("2", "0.25")]


def test_times_are_ratios_to_the_smallest_sparse_table():
    found = times.ratios((20, 40), rounds=3)
    assert {*found} == {(name, count) for name in ("sparse", "dense") for count in (20, 40)}
    assert found["sparse", 20] == 1 and all(ratio > 0 for ratio in found.values())
