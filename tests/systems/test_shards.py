"""A report that several jobs measure is the report that one measures; what is missing is said, with how to get it."""

import csv
import re
import shutil
import subprocess
import sys
import threading

import pytest
from test_conf import CONF, configure
from test_variance import variance

from discretegrad import analysis
from experiments.errors import UserError
from experiments.studies.variance import vae
from experiments.studies.variance.__main__ import run
from experiments.studies.variance.report import dealt
from experiments.train import train

UNTIMED = ["measure.rounds=0", "measure.precision=0.3", "report.figures=[]"]
"""Times differ from run to run, and figures take long to draw."""
UNTIMED += ["report.estimators=['RLOO(4)','Reinforce(4)','DoubleCV(4)','CARMS(4)','ReinMax(1.0, 4)']"]
TABLES = ("rows.csv", "claims.csv", "layers.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The report that one job measured, its runs trained before, by its name."""
    folders = {}
    for name in ("toy", "vae"):
        folder = tmp_path_factory.mktemp("whole") / name
        if name == "vae":
            sizes = ["model.variables=3", "model.categories=4", "model.hidden=[8]", "estimator=rloo"]
            train(configure(*sizes, "run.steps=20", "run.keep=[20]", run_dir=folder / "runs" / "vae"))
        run(variance(f"report={name}", f"out={folder}", *UNTIMED))
        folders[name] = folder
    return folders


def begun(whole, name, folder):
    """A folder with the runs of a report, and nothing measured."""
    folder.mkdir()
    if (whole[name] / "runs").exists():
        shutil.copytree(whole[name] / "runs", folder / "runs")
    return folder


def shard(name, part, out, *overrides):
    return run(variance(f"report={name}", f"shard={part}", f"out={out}", *UNTIMED, *overrides))


def merge(name, folders, out, *overrides):
    return run(variance(f"report={name}", f"merge=[{','.join(map(str, folders))}]", f"out={out}", *UNTIMED, *overrides))


def tables(folder):
    return {name: (folder / name).read_text() for name in TABLES if (folder / name).exists()}


def measures_nothing(monkeypatch):
    def refused(*args, **kwargs):
        raise AssertionError("something was measured")

    monkeypatch.setattr(analysis, "compare", refused)


@pytest.mark.parametrize("name", ["toy", "vae"])
def test_shards_in_folders_of_their_own_are_merged_to_the_whole(name, whole, tmp_path, monkeypatch, capsys):
    """Those of VAE cells each measure their own copy of the run."""
    folders = [begun(whole, name, tmp_path / part) for part in ("one", "two")]
    for number, folder in enumerate(folders, 1):
        assert shard(name, f"{number}/2", folder) == folder / "cells"
        assert not (folder / "report.md").exists()
    one, two = ({file.name for file in (folder / "cells").iterdir()} for folder in folders)
    assert one and two and not one & two
    assert one | two == {file.name for file in (whole[name] / "cells").iterdir()}
    measures_nothing(monkeypatch)
    capsys.readouterr()
    assert merge(name, folders, tmp_path / "page") == tmp_path / "page" / "report.html"
    assert tables(tmp_path / "page") == tables(whole[name])
    page, expected = ((folder / "report.md").read_text() for folder in (tmp_path / "page", whole[name]))
    assert page.split("## Made with")[0] == expected.split("## Made with")[0]
    assert not capsys.readouterr().err


def test_shards_in_one_folder_leave_nothing_to_measure(whole, tmp_path):
    for part in ("2/2", "1/2"):
        shard("toy", part, tmp_path)
    run(variance("report=toy", f"out={tmp_path}", *UNTIMED))
    assert tables(tmp_path) == tables(whole["toy"])


def test_what_is_missing_is_said_on_the_page_and_to_the_user(whole, tmp_path, capsys):
    folder, out = tmp_path / "one", tmp_path / "page"
    shard("toy", "1/2", folder)
    figure = (
        "report.figures=[{file: all, plot: variance_time, criterion: variance, caption: both, where: {kind: table}}]"
    )
    merge("toy", [folder], out, figure)
    notice, page = capsys.readouterr().err, (out / "report.md").read_text()
    assert re.fullmatch(r"Not measured to the end: table V=2 C=3\. Start the jobs .* and then merge again\.\n", notice)
    assert f"**{notice.strip()}**" in page and "![" not in page
    with (out / "rows.csv").open() as file:
        assert {row["cell"] for row in csv.DictReader(file)} == {"classic V=3 C=3"}
    with (out / "claims.csv").open() as file:
        open_cells = {
            row["cell"] for row in csv.DictReader(file) if row["decision"] == "open" and row["ratio"] == "nan"
        }
    assert open_cells == {"table V=2 C=3"}
    shard("toy", "2/2", folder)
    merge("toy", [folder], out)
    assert not capsys.readouterr().err
    assert tables(out) == tables(whole["toy"])


def test_what_is_half_measured_is_missing_too(whole, tmp_path, capsys):
    """Too few replicates, no times, or not all estimators."""
    for override in ("measure.replicates=4096", "measure.rounds=1", "report.estimators=['RLOO(4)','RLOO(3)']"):
        merge("toy", [whole["toy"]], tmp_path, "measure.precision=1e-3", override, "report.claims=[]")
        assert "classic V=3 C=3; table V=2 C=3" in capsys.readouterr().err
    merge("toy", [whole["toy"]], tmp_path, "measure.precision=1e-3")
    assert not capsys.readouterr().err


def test_folders_with_other_seeds_add_their_replicates_and_the_same_are_refused(whole, tmp_path):
    again = tmp_path / "again"
    run(variance("report=toy", f"out={again}", *UNTIMED, "measure.seed=1"))
    merge("toy", [whole["toy"], again], tmp_path / "page")
    counts = []
    for folder in (whole["toy"], again, tmp_path / "page"):
        with (folder / "rows.csv").open() as file:
            counts.append([int(row["replicates"]) for row in csv.DictReader(file)])
    assert [one + other for one, other in zip(*counts[:2], strict=True)] == counts[2]
    shutil.copytree(again, tmp_path / "copy")
    with pytest.raises(UserError, match=r"classic V=3 C=3: both comparisons measured .* with seed 1"):
        merge("toy", [again, tmp_path / "copy"], tmp_path / "page")


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (["shard=3/2"], "shard is a part such as 2/3, the second of three, or null, not '3/2'"),
        (["shard=0/2"], "shard is a part such as 2/3"),
        (["shard=2"], "shard is a part such as 2/3"),
        (["shard=a/b"], "shard is a part such as 2/3"),
        (["shard=1/0"], "shard is a part such as 2/3"),
        (["shard=-1/2"], "shard is a part such as 2/3"),
        (["shard=1/3"], "shard=1/3: this report has 2 problems; deal them to as many jobs at most"),
        (["shard=1/2", "merge=[nowhere]"], "leave out shard or merge"),
        (["merge=nowhere"], "nothing of this report is measured in nowhere; measure it first"),
        (["merge=[nowhere,neither]"], "nothing of this report is measured in nowhere or neither; measure it first"),
    ],
)
def test_what_is_no_shard_is_refused_before_any_work(overrides, sentence, tmp_path):
    with pytest.raises(UserError, match=re.escape(sentence)) as error:
        run(variance("report=toy", f"out={tmp_path / 'out'}", *overrides))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_cell_is_dealt_once_and_parts_differ_by_one_at_most(count):
    parts = [dealt(range(7), f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(cell for part in parts for cell in part) == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_of_jobs_that_need_a_run_one_trains_it_and_the_others_wait(tmp_path, monkeypatch, capsys):
    folder, trained, training, go_on = tmp_path / "runs" / "vae", [], threading.Event(), threading.Event()

    def process(command, **kwargs):
        trained.append(command)
        training.set()
        assert go_on.wait(20)
        folder.mkdir(parents=True)
        (folder / "checkpoint-5.pt").touch()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", process)
    jobs = [threading.Thread(target=vae.train, args=(folder, [5], [])) for _ in range(2)]
    jobs[0].start()
    assert training.wait(20)
    jobs[1].start()
    jobs[1].join(0.2)
    assert jobs[1].is_alive()
    go_on.set()
    for job in jobs:
        job.join(20)
    assert len(trained) == 1
    assert "waiting for the job that trains" in capsys.readouterr().err


@pytest.mark.slow
def test_commands_that_start_together_share_a_folder(tmp_path):
    """Three at once, which need a run that nobody has trained."""
    command = [sys.executable, "-m", "experiments.studies.variance", "report=vae", "quick=true", "progress=false"]
    command += ["measure.replicates=64", *UNTIMED]
    quiet = {"cwd": CONF.parent, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    jobs = [subprocess.Popen([*command, f"out={tmp_path / 'all'}", f"shard={n}/3"], **quiet) for n in (1, 2, 3)]
    said = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], said
    assert sum("training for this report" in text for text in said) == 1
    for out in ("all", "one"):
        subprocess.run([*command, f"out={tmp_path / out}"], check=True, **quiet)
    assert tables(tmp_path / "all") == tables(tmp_path / "one")
