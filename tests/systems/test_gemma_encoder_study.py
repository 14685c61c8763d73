"""The study of adapted decoders: every run once, after the one that it starts from; a page by hand."""

import pytest
from hydra.utils import instantiate

from experiments.errors import UserError
from experiments.studies.gemma_encoder import page, runs
from experiments.studies.gemma_encoder.runs import (
    COLUMNS,
    METHODS,
    PARTS,
    ROWS,
    TASKS,
    Trial,
    carry_out,
    composed,
    keep,
    trials,
)
from experiments.studies.trials import read

TINY = [f"model.sizes.{name}=8" for name in ("hidden_size", "head_dim", "intermediate_size")]
TINY += ["model.sizes.num_attention_heads=1", "task.vocabulary=300", "run.batch=8", "data.examples=60", "device=cpu"]


def test_every_run_is_there_once_after_the_one_that_it_starts_from(tmp_path):
    found = [*trials(("masks", "reading"), [*TASKS], (0, 1))]
    assert len({*found}) == len(found) == 2 * (1 + 4 * 2 * 6 + 2 * 9)
    assert len({trial.folder for trial in found}) == len(found)
    assert [trial.part for trial in found].count("start") == 2
    assert found[0] == Trial("start") and found[len(found) // 2] == Trial("start", seed=1)
    few = [next(trial for trial in found if (trial.part, trial.seed) == (part, 1)) for part in PARTS]
    start, *others = [composed(trial, TINY, tmp_path) for trial in few]
    assert start.run.dir == str(tmp_path / few[0].folder) and "examples" not in start.data
    assert all(config.model.start == start.run.dir and config.data.examples == 60 for config in others)


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_reading_have_two_passes(method, tmp_path):
    config = composed(Trial("reading", "classes", method=method), TINY, tmp_path)
    estimator = instantiate(config.estimator, _convert_="all")
    assert estimator.evaluations == 2 and config.task.form == method.split(",")[0]
    assert estimator.latent == {"gates": "bernoulli", "probes": "categorical"}[config.task.form]


def test_rows_have_the_figures_of_their_runs(tmp_path, monkeypatch):
    result = {"step": 7, "accuracy": 0.5, "accuracy_drawn": 0.6, "accuracy_all": 0.7, "kept": 0.25, "seconds": 2.0}
    monkeypatch.setattr(runs, "result_of", lambda config: result)
    row = carry_out(Trial("reading", "classes", method="gates, DisARM", seed=1), None)
    assert [row[name] for name in ("steps", "score", "drawn", "all", "kept", "seed")] == [
        *("7", "0.5", "0.6", "0.7", "0.25", "1")
    ]
    assert tuple(row) == COLUMNS and row["majority"] == ""
    keep(row, tmp_path / ROWS)
    keep(row | {"score": "0.4"}, tmp_path / ROWS)
    assert [own["score"] for own in read(tmp_path / ROWS)] == ["0.4"]


def line(score, **named):
    return {name: str((named | {"score": score}).get(name, "")) for name in COLUMNS}


def test_a_page_has_the_means_and_the_leads_of_its_rows(tmp_path):
    with pytest.raises(UserError, match="holds no rows of masks yet"):
        page.write(tmp_path)
    rows = [line(4.0 + seed, part="start", seed=seed) for seed in (0, 1)]
    for seed, noise in ((0, 0.0), (1, 0.02)):
        for mask, lead in (("bidirectional", 0.0), ("causal", 0.1 + noise)):
            own = {"part": "masks", "task": "classes", "mask": mask, "seed": seed, "majority": 0.15}
            rows.append(line(0.3 + noise, **own, pooler="mean", weights="random"))
            rows.append(line(0.5 + lead, **own, pooler="mean", weights="learned"))
            rows.append(line(0.4 + lead, **own, pooler="last", weights="learned"))
        shares = {"drawn": 0.5, "all": 0.6, "kept": 0.25, "kept_drawn": 0.3}
        rows.append(line(0.42, part="reading", task="classes", method=next(iter(METHODS)), seed=seed, **shares))
    for row in rows:
        keep(row, tmp_path / ROWS)
    page.write(tmp_path)
    text = (tmp_path / "gemma_encoder.md").read_text()
    assert "is 4.5 ± 0.5 nats per token" in text
    # learned over random: 0.2 and 0.18 bidirectional, 0.3 and 0.3 causal
    assert "| classes | 0.15 | 0.5 | 0.31 ± 0.01 | 0.19 ± 0.01 | 0.61 ± 0.01 | 0.31 ± 0.01 | 0.3 |" in text
    assert "| classes | lead of bidirectional | -0.11 ± 0.01 | - | -0.11 ± 0.01 | - | - |" in text
    assert "| classes | gates, DisARM | 2 | 0.42 | 0.5 | 0.6 | 0.25 | 0.3 |" in text
    assert (tmp_path / page.FIGURE).stat().st_size > 1000
