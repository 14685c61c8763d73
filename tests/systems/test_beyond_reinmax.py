"""The setting and the numbers of "Beyond ReinMax" are theirs, and the page has what was run and no more."""

import copy
from itertools import product

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf.errors import InterpolationKeyError

from experiments.errors import UserError
from experiments.studies.beyond_reinmax import __main__ as command
from experiments.studies.beyond_reinmax import runs
from experiments.studies.beyond_reinmax.page import Curve, section
from experiments.studies.beyond_reinmax.runs import (
    AS_IT_IS,
    AT_FOUR,
    BIASED,
    COLUMNS,
    HELD_OUT,
    NAMES,
    THEIRS,
    Trial,
    chosen,
    composed,
    keep,
    trials,
)
from experiments.studies.trials import ROOT, read

ALL_SIZES = ("8x4", "4x24", "8x16", "16x12", "64x8", "10x30")
STEPS = {"small": 6_000, "full": 96_000, "gpu": 96_000}
LACKING = {("gumbel_rao", "8x16"), ("gumbel_rao", "16x12")}
"""Not in their logs."""
FINAL = {
    "8x4": ("127.59 .24", "125.65 .15", "136.40 .43", "128.31 .22", "125.08 .21", "125.31 .30"),
    "64x8": ("103.87 .13", "112.48 .19", "113.97 .08", "102.41 .17", "101.09 .12", "100.24 .17"),
}
"""Their last train values, mean and standard error, as published beside the logs; in the order of BIASED."""


@pytest.fixture(scope="module")
def setting():
    """Composed once; every method, size and budget is then an interpolation away."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", ["experiment=beyond_reinmax", "run.dir=unused"])


@pytest.mark.parametrize("size", ALL_SIZES)
def test_it_composes_for_every_size_method_and_budget(setting, size):
    config = copy.deepcopy(setting)
    config.size = size
    categories, variables = map(int, size.split("x"))
    assert (config.model.categories, config.model.variables) == (categories, variables)
    for budget, steps in STEPS.items():
        config.budget = budget
        assert config.run.steps == steps
        assert (config.device == "cuda") == (budget == "gpu")
    for method in {*AS_IT_IS, *AT_FOUR, *BIASED}:
        config.method = method
        if (method.removesuffix("4"), size) in LACKING:
            with pytest.raises(InterpolationKeyError, match=size):
                _ = config.optimizer.lr
            continue
        assert instantiate(config.optimizer).keywords["lr"] == config.choices.picked.lr
        estimator = instantiate(config.estimator, _convert_="all")
        assert estimator.evaluations == (int(method[-1]) if method[-1] in "24" else 1)


def test_every_line_of_theirs_is_what_the_experiment_would_train(setting):
    lines = read(THEIRS)
    assert len(lines) == 34 * 9
    config = copy.deepcopy(setting)
    for line in lines:
        config.method = next(method for method in BIASED if NAMES[method] == line["method"])
        config.size = f"{line['categories']}x{line['variables']}"
        picked = config.choices.picked
        assert (picked.optimizer, picked.lr) == (line["optimizer"], float(line["lr"]))
        assert config.estimator.temperature == float(line["temperature"])
        assert config.optimizer._target_ == f"torch.optim.{line['optimizer']}"


@pytest.mark.parametrize("size", FINAL)
def test_their_numbers_are_those_of_their_last_epoch(size):
    for method, published in zip(BIASED, FINAL[size], strict=True):
        line = next(
            line
            for line in read(THEIRS)
            if line["method"] == NAMES[method]
            and f"{line['categories']}x{line['variables']}" == size
            and line["epoch"] == "160"
        )
        mean, error = map(float, published.split())
        assert float(line["train"]) == pytest.approx(mean, abs=0.006)
        assert float(line["train_sd"]) / int(line["seeds"]) ** 0.5 == pytest.approx(error, abs=0.006)


def test_the_grid_is_judged_by_held_out_images(tmp_path):
    found = list(trials("grid", ["8x4"], ["rloo2", "reinmax"], [0, 1], []))
    assert len({(trial.optimizer, trial.lr) for trial in found}) == len(found) == 8
    config = composed(found[-1], [], tmp_path)
    assert config.data.held_out == HELD_OUT
    assert config.optimizer.lr == 1e-3
    assert config.optimizer._target_ == "torch.optim.RAdam"
    assert config.run.steps / config.run.log_every == 10  # epochs of 55,000 images
    assert composed(found[0], [], tmp_path).run.dir != config.run.dir


def line(**given):
    return {column: "" for column in COLUMNS} | {
        "part": "first",
        "categories": "8",
        "variables": "4",
        "optimizer": "Adam",
        "lr": "0.0005",
        "seed": "0",
        **given,
    }


def test_the_best_of_the_grid_is_chosen():
    lines = [
        line(part="grid", method="flow2", optimizer=optimizer, lr=str(lr), epoch="10", test=str(140 - i))
        for i, (optimizer, lr) in enumerate(product(("RAdam", "Adam"), (3e-4, 1e-3)))
    ]
    lines.append(line(part="grid", method="flow2", optimizer="Adam", lr="0.0007", epoch="2", test="1"))  # not as far
    assert chosen(lines, "8x4") == {"flow2": ("Adam", 1e-3), "flow4": ("Adam", 1e-3)}
    assert chosen(lines, "64x8") == {}
    assert list(trials("chosen", ["8x4"], ["flow4", "reinmax4"], [1], lines)) == [
        Trial("chosen", "flow4", "8x4", 1, "Adam", 1e-3),
        Trial("first", "reinmax4", "8x4", 1),
    ]
    with pytest.raises(UserError, match="the grid has no rloo4 at 8x4"):
        list(trials("chosen", ["8x4"], ["rloo4"], [0], lines))


def test_the_page_has_means_errors_and_what_is_missing():
    lines = [
        line(method="rloo4", seed=str(seed), epoch=str(epoch), train=str(150 - 5 * epoch + seed))
        for seed in (0, 1, 2)
        for epoch in (1, 2)
    ]
    lines += [line(method="rloo2", epoch=str(epoch), train="170") for epoch in (1, 2, 5)]
    times = [{"method": "rloo4", "size": "8x4", "time": "2.0"}, {"method": "reinmax", "size": "8x4", "time": "1.0"}]
    text = section(lines, times)
    assert "| RLOO, 4 evaluations (ours) | Adam 0.0005 | 3 | 141.00 ± 0.58 | missing | 2.00 | 146.00 |" in text
    assert "| ReinMax (theirs) | Adam 0.0005 | 10 | 182.15 ± 0.94 | 150.75 ± 0.59 | 1.00 | 182.15 |" in text
    assert "| Flow, 2 evaluations (ours) | missing | missing | missing | missing | missing | missing |" in text
    assert "lower: RLOO, 4 evaluations (-25.04 ± 1.00)" in text  # than Gumbel-Rao
    assert "By time, against ReinMax (182.15): lower: RLOO, 4 evaluations (-36.15)" in text
    assert "Not run yet." in text  # 64x8
    assert "The grid of optimisers and learning rates has not been run yet for 8x4." in text


def test_between_epochs_it_is_straight_in_the_logarithm():
    curve = Curve({1: 200.0, 4: 100.0}, {}, 1, "", None)
    assert curve.at(2) == pytest.approx(150)
    assert curve.at(0.5) == 200
    assert curve.at(9) == 100


def test_rows_take_the_place_of_those_of_the_same_run(tmp_path):
    path = tmp_path / "rows.csv"
    keep([line(method="rloo2", epoch="1", train="2"), line(method="rloo2", epoch="2", train="1")], path)
    keep([line(method="rloo2", epoch="1", train="3"), line(method="rloo4", epoch="10", train="1")], path)
    assert [(row["method"], row["epoch"], row["train"]) for row in read(path)] == [
        ("rloo2", "1", "3"),
        ("rloo4", "10", "1"),
    ]


def test_the_command_trains_goes_on_and_writes_the_page(tmp_path, monkeypatch, capsys):
    (tmp_path / "findings.md").write_text("before\n<!-- beyond_reinmax -->\nold\n<!-- end beyond_reinmax -->\nafter\n")
    monkeypatch.setattr(runs, "GRID", runs.GRID[:2])
    tiny = ["data=digits", "device=cpu", "run.batch=10", "run.log_every=2", "model.hidden=[8]"]
    own = ["--sizes=8x4", "--methods=rloo2", "--seeds=0", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path}"]

    def call(part, *arguments):
        monkeypatch.setattr("sys.argv", ["beyond_reinmax", part, *own, *arguments])
        command.main()
        return read(tmp_path / "beyond_reinmax.csv")

    with pytest.raises(SystemExit):
        call("page")
    assert "has no rows yet" in capsys.readouterr().err
    assert [row["epoch"] for row in call("first", *tiny, "run.steps=2")] == ["1"]
    first = call("first", *tiny, "run.steps=4")
    assert [row["epoch"] for row in first] == ["1", "2"]
    seconds = [float(row["seconds"]) for row in first]
    assert seconds == sorted(seconds)  # of one run
    assert call("first", *tiny, "run.steps=4") == first  # seconds too: nothing was trained again
    call("grid", *tiny, "run.steps=2", "data.held_out=100")
    call("chosen", *tiny, "run.steps=4")
    call("times", "--rounds=1")
    rows = call("page")
    page = (tmp_path / "findings.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    value = next(float(row["train"]) for row in rows if row["part"] == "chosen" and row["epoch"] == "2")
    assert f"{value:.2f} |" in page
    assert "**The grid, 8x4**" in page
    assert (tmp_path / "figures" / "beyond-reinmax.png").stat().st_size > 10_000


def test_what_is_no_argument_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["beyond_reinmax", "first", "--seed=0", "1"])
    with pytest.raises(SystemExit):
        command.main()
    assert "what goes to experiments.train is NAME=VALUE" in capsys.readouterr().err
