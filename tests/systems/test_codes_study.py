"""The study of codes: each run once, rows that are kept, and a page of means by hand."""

import csv
from pathlib import Path

import pytest

from experiments.studies.codes import page
from experiments.studies.codes.runs import COLUMNS, ROWS, TRAINED, UNTRAINED, Trial, carry_out, composed, keep, trials

SMALL = [
    "data.pairs=60",
    "data.held_out=30",
    "data.others=10",
    "task.encoder=hashed",
    "model.dimensions=8",
    "model.start=sampled",
    "run.batch=8",
    "run.steps=2",
    "device=cpu",
]


def test_every_run_is_there_once():
    found = list(trials((0, 1)))
    assert len({trial.folder for trial in found}) == len(found) == 2 * (len(UNTRAINED) + len(TRAINED))
    assert [trial.seed for trial in found] == [seed for seed in (0, 1) for _ in (*UNTRAINED, *TRAINED)]
    for trial in found:
        composed(trial, [], Path("x"))


def test_runs_are_trained_once_and_kept(tmp_path, monkeypatch):
    done = [
        Trial("product", 4, 4, "codebooks alone"),
        Trial("residual", 4, 4, "RLOO(4)"),
        Trial("bits", 4, 2, "untrained"),
    ]
    for trial in done:
        keep(carry_out(trial, composed(trial, SMALL, tmp_path)), tmp_path / ROWS)
    before = (tmp_path / ROWS).read_text()
    monkeypatch.setattr("experiments.studies.codes.runs.train", None)
    for trial in done:
        keep(carry_out(trial, composed(trial, SMALL, tmp_path)), tmp_path / ROWS)
    assert (tmp_path / ROWS).read_text() == before
    rows = list(csv.DictReader((tmp_path / ROWS).read_text().splitlines()))
    assert [(row["structure"], row["beam"]) for row in rows] == [
        ("bits", "1"),
        ("product", "1"),
        ("residual", "1"),
        ("residual", "5"),
    ]


def test_means_over_seeds_by_hand(tmp_path):
    row = dict.fromkeys(COLUMNS, "")
    rows = [
        row
        | {"structure": s, "variables": "8", "categories": "256", "beam": "5", "method": m, "seed": str(seed)}
        | {"mrr": str(mrr), "recall_at_10": "0.5", "bits": "63", "seconds": "7"}
        for s, m, seed, mrr in [
            ("residual", "untrained", 0, 0.3),
            ("residual", "untrained", 1, 0.36),
            ("residual", "RLOO(4)", 0, 0.3),
            ("residual", "RLOO(4)", 1, 0.4),
            ("product", "untrained", 0, 0.3),
            ("bits", "untrained", 0, 0.3),
        ]
    ]
    keep(rows, tmp_path / ROWS)
    page.write(tmp_path)
    text = (tmp_path / "codes.md").read_text()
    assert "2,990 held-out queries among 9,991 documents" in text
    assert "| RLOO(4) | beam 5 | 2 | 35.0 ± 5.0 | 2.00 ± 2.00 | 50.0 | 63 |" in text
    assert "| untrained | beam 5 | 2 | 33.0 ± 3.0 | - | 50.0 | 63 |" in text
    assert "Product" not in text  # of which nothing was trained
    assert (tmp_path / "figures" / "codes.png").stat().st_size > 1000


@pytest.mark.parametrize("arguments", [["--steps=3"], ["extra"]])
def test_unknown_arguments_are_named(arguments, monkeypatch, capsys):
    from experiments.studies.codes.__main__ import main

    monkeypatch.setattr("sys.argv", ["codes", "page", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert f"unknown argument {arguments[0]}" in capsys.readouterr().err
