"""The table of gradient variance at stages of training: what it measures, what it writes, what it refuses."""

import re
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from test_conf import configure

import discretegrad as dg
from experiments.errors import UserError
from experiments.studies.page import DOCS, read
from experiments.studies.stages import page
from experiments.studies.stages.stage import PRECISION, FrozenModel, load, measure
from experiments.train import train

SIZES = ["model.variables=3", "model.categories=4", "run.steps=4", "run.keep=[2,4]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages") / "run"
    return train(configure("estimator=reinforce_quadratic", *SIZES, run_dir=folder))


def test_a_stage_is_the_task_as_it_was_at_that_step(run):
    """Also what the run's estimator had learned, which the encoder's parameters say nothing of."""
    folder = run.folder.path
    for step in (2, 4):
        kept = torch.load(folder / f"checkpoint-{step}.pt", weights_only=True)["task"]
        known = load(folder, step).state_dict()
        assert known.keys() == kept.keys()
        same = {name for name, value in kept.items() if torch.is_tensor(value) and torch.equal(value, known[name])}
        assert same == {name for name, value in kept.items() if torch.is_tensor(value)}
        last = {name for name in same if torch.equal(kept[name], run.task.state_dict()[name])}
        assert (last == same) == (step == 4)


def changed(folder, *changes):
    config = OmegaConf.load(folder / "config.yaml")
    for key, value in changes:
        OmegaConf.update(config, key, value)
    OmegaConf.save(config, folder / "config.yaml")


@pytest.mark.parametrize(
    "step, change, sentence",
    [
        (3, None, "has no checkpoint-3.pt; train with run.keep=[3], or give a step it kept"),
        (4, lambda folder: (folder / "config.yaml").unlink(), "is no folder of a run of experiments.train"),
        (4, lambda folder: changed(folder, ("task._target_", "experiments.engine.Task")), "holds no run of system=vae"),
        (4, lambda folder: changed(folder, ("task", None)), "holds no run of system=vae by this version"),
        (4, lambda folder: (folder / "checkpoint-4.pt").write_bytes(b"PK"), "checkpoint-4.pt cannot be read"),
    ],
)
def test_what_is_no_stage_is_refused_in_a_sentence(step, change, sentence, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder.path, folder)
    if change is not None:
        change(folder)
    with pytest.raises(UserError, match=re.escape(sentence)) as error:
        measure(folder, step, 4, 1, 20, 1)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (["model=bernoulli", "estimator=disarm"], "has Bernoulli latents"),
        (["model.inputs=ids", "estimator=rloo", "model.categories=4"], "has a decoder of ids"),
    ],
)
def test_models_that_not_all_estimators_work_on_are_refused(overrides, sentence, tmp_path):
    train(configure("model.variables=3", "run.steps=1", "run.keep=[1]", *overrides, run_dir=tmp_path / "run"))
    with pytest.raises(UserError, match=sentence):
        measure(tmp_path / "run", 1, 4, 1, 20, 1)


def test_the_page_is_made_of_the_csv_file(tmp_path):
    text = (DOCS / "stages.md").read_text()
    learn, images = re.search(r"had (\d+) steps on the frozen model; (\d+) images", text).groups()
    page.write(read(DOCS / "stages.csv"), tmp_path, learn=int(learn), images=int(images))
    for name in ("stages.md", "stages.csv"):
        assert (tmp_path / name).read_text() == (DOCS / name).read_text()


def test_variance_is_that_of_the_estimates(run):
    """Half the squared distance of two estimates, against the plain sample variance of 800: 5 standard errors."""
    frozen = FrozenModel(run.task, count=3, seed=0)
    estimator = dg.RLOO(2)
    variance, error, mean, count = frozen.variance(estimator, most=300)
    many = torch.stack([frozen.gradient(estimator) for _ in range(800)])
    totals = (many - many.mean(0)).square().sum((-1, -2, -3)) / 3
    spread = float(totals.std() / len(totals) ** 0.5)
    assert abs(variance - float(totals.mean())) < 5 * (spread**2 + error**2) ** 0.5
    assert error <= PRECISION * variance or count == 600
    assert mean.shape == (3, 3, 4)
    assert count >= 40


def test_learning_moves_the_module_and_not_the_model(run):
    frozen = FrozenModel(run.task, count=3, seed=0)
    module = dg.nn.LinearControlVariate(shape=(3, 4))
    before = [parameter.clone() for parameter in frozen.model.parameters()]
    frozen.learn(dg.RLOO(control_variate=module), steps=3, batch=5)
    assert module.table.abs().sum() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.model.parameters(), strict=True))


@pytest.mark.slow
def test_the_whole_table(run, tmp_path):
    lines = measure(run.folder.path, 4, images=4, learn=2, most=20, rounds=1)
    labels = [line["estimator"] for line in lines]
    assert len(set(labels)) == len(labels)
    assert {line["evaluations"] for line in lines} == {"2", "4", "8"}
    assert next(line for line in lines if line["estimator"] == "RLOO(2)")["variance"] == "1"
    page.write(lines, tmp_path, learn=2, images=4)
    text = (tmp_path / "stages.md").read_text()
    assert all(f"| {label} |" in text for label in labels)
    assert text.count("times less variance") == 3
