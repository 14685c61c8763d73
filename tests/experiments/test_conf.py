"""Every YAML composes and instantiates, and every estimator's trains."""

import math
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from experiments.engine import Settings
from experiments.errors import UserError
from experiments.train import build, train

CONF = Path(__file__).parents[2] / "conf"
TINY = ("data=digits", "run.batch=10", "task.bound_samples=2", "run.evaluate_most=10")
TINY += ("run.progress=false", "device=cpu")


ALONE = (
    "data.cities=30",
    "data.questions=4",
    "data.held_out=2",
    "task.vocabulary=400",
    "model.start=null",
    "run.batch=8",
)
ALONE += (
    "model.sizes.d_model=16",
    "model.sizes.d_ff=16",
    "model.sizes.num_layers=1",
    "model.sizes.num_decoder_layers=1",
)
"""A language model in seconds."""
DECODER = ("data.pairs=40", "data.held_out=4", "task.vocabulary=300", "run.batch=8", "model.sizes.num_hidden_layers=1")
"""A causal one."""


def configure(*overrides, run_dir="unused"):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*TINY, f"run.dir={run_dir}", *overrides])


def options(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def test_no_group_is_forgotten():
    """A new folder under conf/ needs a test here."""
    assert {path.name for path in CONF.iterdir()} == {
        "budgets.yaml",
        "data",
        "estimator",
        "experiment",
        "launcher",
        "model",
        "optimizer",
        "preset",
        "report",
        "system",
        "tiny",
        "train.yaml",
        "variance.yaml",
    }


@pytest.mark.parametrize("estimator", options("estimator"))
def test_every_estimator_trains(estimator, tmp_path):
    model = "bernoulli" if estimator in ("arm", "arms", "disarm") else "categorical"
    sizes = ["model.variables=3"] + ([] if model == "bernoulli" else ["model.categories=4"])
    config = configure(f"estimator={estimator}", f"model={model}", *sizes, "run.steps=2", run_dir=tmp_path / "run")
    run = train(config)
    assert run.step == 2
    assert run.result["train_elbo"] < 0


@pytest.mark.parametrize(
    "estimator",
    [
        "rloo",
        "reinforce_learned",
        "straight_through",
        "gumbel_softmax",
        "muprop",
        "rodeo_network",
        "rebar",
        "relax",
        "unordered_set",
        "disarm_bound",
        "gumbel_rao",
        "gapped_st",
        "reinmax",
        "imle",
    ],
)
def test_estimators_for_both_latents_train_a_bernoulli_model(estimator, tmp_path):
    config = configure(
        f"estimator={estimator}", "model=bernoulli", "model.variables=3", "run.steps=2", run_dir=tmp_path
    )
    assert train(config).step == 2


@pytest.mark.parametrize("model", options("model"))
def test_every_model_is_built(model):
    model = instantiate(configure(f"model={model}").model)(torch.rand(64))
    assert model.pixel_logits(torch.zeros(2, 3, *model.prior_logits.shape)).shape == (2, 3, 64)


@pytest.mark.parametrize("estimator", sorted({*options("estimator")} - {"arm", "arms", "disarm"}))  # of categories
def test_every_estimator_trains_a_decoder_of_ids_or_says_that_it_cannot(estimator, tmp_path):
    sizes = ["model.variables=3", "model.categories=4", "model.inputs=ids", "run.steps=2"]
    config = configure(f"estimator={estimator}", *sizes, run_dir=tmp_path / "run")
    if instantiate(config.estimator, _convert_="all").takes_ids:
        assert train(config).step == 2
    else:
        with pytest.raises(UserError, match=r"use model\.inputs=points"):
            train(config)


PARTS = ("train", "learned"), ("test", "held_out")
"""What data sets call what is trained on, and what is judged by."""


@pytest.mark.parametrize("data", options("data"))
def test_every_data_set_composes(data):
    config = configure(f"data={data}").data
    if "url" in config:
        assert config.url.endswith("/")
        hashes = [config.blob] if data == "omniglot" else [config.train.sha256, config.test.sha256]
        assert {len(hash) for hash in hashes} == ({40} if data == "omniglot" else {64})
    elif "root" in config:  # published files, which are not here
        with pytest.raises(InstantiationException, match=r"data\.root=None is no folder"):
            instantiate(config)
    else:
        found = instantiate(config)
        parts = [asked.pairs for asked in found.tasks.values()] if data == "wordnet_tasks" else [found]
        for part in parts:
            learned, judged = (next(getattr(part, n) for n in names if hasattr(part, n)) for names in PARTS)
            assert len(learned) > len(judged) > 0


@pytest.mark.parametrize("estimator", [[], ["estimator=rloo"]])
@pytest.mark.parametrize("preset", options("preset"))
def test_every_preset_is_built_with_any_estimator(preset, estimator):
    run = build(configure(f"+preset={preset}", "run.batch=10", *estimator))
    assert isinstance(run.settings, Settings)


def test_the_issue_s_spelling_of_sizes_works():
    run = build(configure("estimator=rloo", "estimator.num_samples=4", "model.variables=32", "model.categories=16"))
    assert run.task.estimator.evaluations == 4
    assert run.task.model.prior_logits.shape == (32, 16)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_has_its_budgets_and_a_row_in_the_guide(experiment):
    """Small is shorter than full, which it can go on to; a GPU does all of it."""
    steps = {}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for budget in ("small", "full", "gpu"):
            config = compose("train", [f"experiment={experiment}", f"budget={budget}", "run.dir=unused"])
            steps[budget] = instantiate(config.run).steps
            assert (config.device, config.resume) == ("cuda" if budget == "gpu" else "auto", "auto")
            for part in ("task", "optimizer", "learner_optimizer"):
                OmegaConf.to_container(config[part], resolve=True, throw_on_missing=True)
    assert steps["small"] < steps["full"] == steps["gpu"]
    assert f"`{experiment}`" in (CONF.parent / "docs" / "guide" / "systems.md").read_text()


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_trains(experiment, tmp_path):
    """One step, on little data."""
    fixed = [f"experiment={experiment}", "device=cpu", f"run.dir={tmp_path / 'run'}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("train", fixed, return_hydra_config=True)
        system = whole.hydra.runtime.choices.system
        if "judge_steps" in whole.task:
            fixed += [f"+tiny={system}"]
        elif "bound_samples" in whole.task:
            fixed += ["data=digits", "run.batch=4", "task.bound_samples=2", "run.progress=false"]
        elif system is None:  # the experiment has all of it
            alone = DECODER if "DecoderTask" in whole.task._target_ else ALONE
            fixed += [
                *alone,
                f"data.cache={tmp_path}",
                *(["task.texts=40"] if "texts" in whole.task and alone is ALONE else []),
            ]
        else:
            fixed += [f"+tiny={system}", *(["model.start=null"] if "start" in whole.model else [])]
        run = train(compose("train", [*fixed, "run.steps=1"]))
    assert run.step == 1
    assert all(math.isfinite(run.result[name]) for name in run.task.measures if run.result[name] is not None)
