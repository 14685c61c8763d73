"""The VAE as a task of the engine is the VAE of the loop that it had before, to the bit."""

import csv
from pathlib import Path

import pytest
import torch
from test_conf import configure

from experiments.train import train

BEFORE = Path(__file__).parent / "before"
SETTINGS = ("run.steps=60", "run.log_every=10", "run.evaluate_every=20", "run.batch=20", "task.bound_samples=5",
            "run.evaluate_most=50", "model.hidden=[32]", "threads=1")  # fmt: skip
SIZES = ("model.variables=6", "model.categories=5")


def where_it_was_written():
    """Another processor, or another build of torch, rounds matrix products otherwise."""
    capability = torch.backends.cpu.get_cpu_capability()
    processors = Path("/proc/cpuinfo")
    named = processors.exists() and "AMD EPYC" in processors.read_text()
    return named and capability == "AVX2" and torch.__version__ == "2.13.0+cpu"


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("disarm_tree", ("data=mnist_subset", *SIZES)),
        ("relax", ("data=digits", "estimator=relax", "run.seed=1", *SIZES)),
        ("disarm", ("data=digits", "model=bernoulli", "estimator=disarm", "model.variables=12")),
    ],
)
def test_metrics_are_those_of_before(name, choices, tmp_path):
    run = train(configure(*SETTINGS, *choices, run_dir=tmp_path))
    now, before = (
        list(csv.DictReader(path.read_text().splitlines())) for path in (run.folder.metrics, BEFORE / f"{name}.csv")
    )
    now = [{column: row[column] for column in before[0]} for row in now]
    if where_it_was_written():
        assert now == before
    for row, old in zip(now, before, strict=True):
        assert {c for c in row if row[c]} == {c for c in old if old[c]}
        for column in (c for c in old if old[c]):
            assert float(row[column]) == pytest.approx(float(old[column]), rel=2e-3), (row["step"], column)
