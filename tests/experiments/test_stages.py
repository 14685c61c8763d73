"""The table of gradient variance at stages of training: what it measures, what it writes, what it refuses."""

import argparse

import pytest
import torch
from test_conf import configure

import discretegrad as dg
from experiments.engine.errors import UserError
from experiments.studies.stages import page
from experiments.studies.stages.stage import PRECISION, Stage, measure
from experiments.train import train

SIZES = ["model.variables=3", "model.categories=4", "run.steps=4", "run.keep=[2,4]"]


@pytest.fixture
def run(tmp_path):
    return train(configure("estimator=reinforce_quadratic", *SIZES, run_dir=tmp_path / "run"))


def test_checkpoints_of_named_steps_are_kept(run):
    kept = sorted(path.name for path in run.folder.glob("checkpoint-*.pt"))
    assert kept == ["checkpoint-2.pt", "checkpoint-4.pt"]
    assert torch.load(run.folder / "checkpoint-2.pt", weights_only=True)["step"] == 2


def test_a_missing_checkpoint_is_refused_by_name(run):
    with pytest.raises(UserError, match=r"checkpoint-3\.pt is missing; train with run\.keep=\[3\]"):
        measure(run.folder, 3, 4, 1, 20, 1)


def test_variance_is_that_of_the_estimates(run):
    """Half the squared distance of two estimates, against the plain sample variance of 800: 5 standard errors."""
    stage = Stage(run, count=3, seed=0)
    estimator = dg.RLOO(2)
    variance, error, mean, count = stage.variance(estimator, most=300)
    many = torch.stack([stage.gradient(estimator) for _ in range(800)])
    totals = (many - many.mean(0)).square().sum((-1, -2, -3)) / 3
    spread = float(totals.std() / len(totals) ** 0.5)
    assert abs(variance - float(totals.mean())) < 5 * (spread**2 + error**2) ** 0.5
    assert error <= PRECISION * variance or count == 600
    assert mean.shape == (3, 3, 4)
    assert count >= 40


def test_learning_moves_the_module_and_not_the_model(run):
    stage = Stage(run, count=3, seed=0)
    module = dg.nn.LinearControlVariate(shape=(3, 4))
    before = [parameter.clone() for parameter in stage.model.parameters()]
    stage.learn(dg.RLOO(control_variate=module), steps=3, batch=5)
    assert module.table.abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, stage.model.parameters(), strict=True))


@pytest.mark.slow
def test_the_whole_table(run, tmp_path):
    lines = measure(run.folder, 4, images=4, learn=2, most=20, rounds=1)
    labels = [line["estimator"] for line in lines]
    assert len(set(labels)) == len(labels)
    assert {line["evaluations"] for line in lines} == {2, 4, 8}
    assert next(line for line in lines if line["estimator"] == "RLOO(2)")["variance"] == 1.0
    rounded = [{name: page.rounded(line[name]) for name in page.COLUMNS} for line in lines]
    page.write(rounded, argparse.Namespace(out=tmp_path, learn=2, images=4))
    text = (tmp_path / "stages.md").read_text()
    assert all(f"| {label} |" in text for label in labels)
    assert text.count("times less variance") == 3
