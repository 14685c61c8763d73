"""The study of context: every run once, each what it is called; a page by hand."""

import pytest
from test_every_system import configure

from experiments.errors import UserError
from experiments.studies.cedet import page
from experiments.studies.cedet.runs import COLUMNS, METHODS, PARTS, ROWS, Trial, carry_out, composed, keep, trials


def test_every_run_is_there_once(tmp_path):
    found = [*trials([*PARTS], (0, 1))]
    assert len(found) == len({trial.folder for trial in found}) == 2 * (8 + 7 + 3)
    assert {trial.method for trial in found} == {*METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_what_it_is_called(method, tmp_path):
    config = composed(Trial("shuffled", method, 1), ["data.clutter=7"], tmp_path, 30)
    model, task = config.model, config.task
    assert (config.run.steps, config.run.seed, config.data.shuffle, config.data.clutter) == (30, 1, True, 7)
    assert model.context == (method != "cascade")
    assert bool(task.segmentation) == (method not in ("cascade", "+ SGCM"))
    graph = "learned" if "learned" in method else {"+ ICMM, nearest": "nearest", "all pairs": "all"}.get(method, "none")
    assert model.graph == graph
    if graph == "learned":
        estimator = config.estimator
        evaluations = estimator.get("num_samples") or 2 * estimator.num_pairs
        assert evaluations == 8 and estimator.get("latent", "bernoulli") == "bernoulli"


def row(scenes, method, seed, **values):
    found = {"scenes": scenes, "method": method, "seed": str(seed), "step": "1500", "seconds": "9"}
    return {name: "" for name in COLUMNS} | found | {name: str(value) for name, value in values.items()}


def test_the_page_by_hand(tmp_path):
    with pytest.raises(UserError, match="measure first"):
        page.write(tmp_path)
    real = {"atlanta_ap50": 40.0, "atlanta_ap75": 5.0, "atlanta_ap50_low": 30.0, "atlanta_ap50_high": 55.0}
    graph = {"edges": 20.0, "edge_precision": 0.9, "nearest_edges": 50.0, "nearest_edge_precision": 0.6}
    graph |= {"chance_edge_precision": 0.25}
    graph |= {f"{prefix}edge_block_share": share for prefix, share in (("", 0.95), ("nearest_", 0.7), ("chance_", 0.3))}
    for seed, (base, own) in enumerate([(80.0, 83.0), (82.0, 84.0), (81.0, 84.0)]):
        keep(row("structured", "cascade", seed, ap50=base, ap75=50.0, **real), tmp_path / ROWS)
        keep(row("structured", "+ ICMM, nearest", seed, ap50=1.0, ap75=50.0, **real, **graph), tmp_path / ROWS)
        keep(row("structured", "+ ICMM, nearest", seed, ap50=own, ap75=50.0, **real, **graph), tmp_path / ROWS)
    keep(row("shuffled", "cascade", 0, ap50=70.0, ap75=40.0, **real), tmp_path / ROWS)
    keep(row("shuffled", "+ ICMM, nearest", 0, ap50=72.0, ap75=40.0, **real), tmp_path / ROWS)
    page.write(tmp_path)
    lines = (tmp_path / "cedet.md").read_text().splitlines()
    assert "| cascade | 3 | 81 ± 0.6 | - | 50 | - |" in lines
    assert "| + ICMM, nearest | 3 | 83.7 ± 0.3 | 2.67 ± 0.3 | 50 | 0 |" in lines
    assert "| structured | 2.67 ± 0.3 | at least 2 | yes |" in lines
    assert "| shuffled | 2 | less than 1 | no |" in lines
    assert "| + ICMM, nearest | 3 | 83.7 ± 0.3 | 50 | 20 | 0.9 | 0.95 | 50 | 0.6 | 0.7 | 0.25 | 0.3 |" in lines
    assert "| structured | cascade | 3 | 40 | 30 to 55 | 5 |" in lines


def test_a_run_leaves_a_row(tmp_path):
    config = configure("cedet", tmp_path / "run", "model.graph=nearest", "run.steps=1", "run.evaluate_every=1")
    found = carry_out(Trial("structured", "+ ICMM, nearest", 0), config)
    assert tuple(found) == COLUMNS and all(found.values())
    assert carry_out(Trial("structured", "+ ICMM, nearest", 0), config) == found
