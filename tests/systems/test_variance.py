"""Reports on variance: they run, resume, decide rightly, say the same in every format, and refuse in a sentence."""

import csv
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from test_conf import CONF, configure, options

import discretegrad as dg
from discretegrad import analysis
from discretegrad.analysis import Estimate
from experiments.errors import UserError
from experiments.studies import page
from experiments.studies.problems import classic, ising, quadratic, small, table
from experiments.studies.variance import findings, report, show
from experiments.studies.variance.__main__ import run
from experiments.studies.variance.claims import crossovers, decide
from experiments.studies.variance.claims import test as below
from experiments.studies.variance.report import Cell, Claim, Report, expand
from experiments.studies.variance.specs import estimator
from experiments.train import train

TINY = ["quick=true", "measure.precision=0.9", "measure.replicates=64", "measure.rounds=1", "progress=false"]


def variance(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("variance", [*TINY, *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of each latent that kept step 20, by the latent."""
    folders = {}
    for latent in ("categorical", "bernoulli"):
        folders[latent] = tmp_path_factory.mktemp(latent) / "vae"
        sizes = [f"model={latent}", "model.variables=3", "model.hidden=[8]", "run.steps=20", "run.keep=[20]"]
        sizes += ["model.categories=4", "estimator=rloo"] if latent == "categorical" else ["estimator=disarm"]
        train(configure(*sizes, run_dir=folders[latent]))
    return folders


def put(trained, name, out):
    shutil.copytree(trained["bernoulli" if name == "disarm" else "categorical"], out / "runs" / "vae")


def lines(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", options("report"))
def test_every_report_runs_and_its_files_agree(name, tmp_path, trained):
    out = tmp_path / name
    put(trained, name, out)
    written = run(variance(f"report={name}", f"out={out}"))
    assert written == out / "report.html"
    text, rows, claims = (out / "report.md").read_text(), lines(out / "rows.csv"), lines(out / "claims.csv")
    assert rows and not any(row["failure"] for row in rows)
    for row in rows:
        error = float(row["variance_se"])
        assert f"| {page.number(float(row['variance']), error)} |" in text, row["name"]
    for claim in claims:
        assert f"| {claim['cell']} | `{claim['less']}` | `{claim['more']}` |" in text
    config = (out / "config.yaml").read_text()
    assert config.strip() in text
    assert torch.__version__ in text
    self_contained(written.read_text(), text)
    assert not list(out.rglob("*.tmp"))


def self_contained(whole, text):
    sources = re.findall(r"(?:src|href)\s*=\s*[\"']([^\"']*)", whole)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(sources) == text.count("![")
    assert "url(" not in whole and "@import" not in whole and "<script" not in whole


def test_an_interrupted_report_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    overrides = ["report=toy", "measure.rounds=0", "measure.precision=0.2", "measure.replicates=200"]
    run(variance(*overrides, f"out={tmp_path / 'whole'}"))
    compare, calls = analysis.compare, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compare(*args, **kwargs)

    monkeypatch.setattr(analysis, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(variance(*overrides, f"out={tmp_path / 'parts'}"))
    assert len(list((tmp_path / "parts" / "cells").iterdir())) == 1
    assert not (tmp_path / "parts" / "report.md").exists()
    run(variance(*overrides, f"out={tmp_path / 'parts'}"))
    for name in ("rows.csv", "claims.csv"):
        assert (tmp_path / "parts" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.parametrize(
    "overrides, sentence",
    [
        (["report.cells=[{kind: klassik}]"], "there is no family of problems called 'klassik'"),
        (["report.cells=[{kind: classic, variables: -3}]"], "classic: variables must be an integer of at least 1"),
        (["report.cells=[{kind: classic, size: 3}]"], "a problem of the family classic has no size"),
        (["report.cells=[{kind: classic, latent: gaussian}]"], "latent is categorical or bernoulli, not 'gaussian'"),
        (["report.cells=[{kind: classic, scale: -1.0}]"], "classic: scale must be a number in"),
        (["report.cells=[]"], "a report needs cells"),
        (["report.cells=[{kind: vae, run: nowhere}]"], "nowhere is no folder of a run"),
        (["report.estimators=['RLO(2)']"], "discretegrad has nothing called RLO"),
        (["report.estimators=['RLOO(2']"], "is no estimator"),
        (["report.estimators=['RLOO(1)']"], "'RLOO(1)' cannot be made"),
        (["report.estimators=['VIMCO(2)']"], "differentiates a multi-sample bound"),
        (["report.estimators=['DisARMTree()']"], "is for categorical latents, but the problem's are bernoulli"),
        (["report.estimators=['RLOO({k})']"], "has {k}, which is neither in values nor in the problem"),
        (["report.estimators=['RLOO(2)']"], r"nothing in this report is about DisARM\(\) and ARM\(\)"),
        (["+report.colour=red"], "a report has no colour"),
        (["report.figures=[{file: a, plot: pie, caption: b}]"], "a figure's plot is one of"),
        (["report.claims=[{says: a, by: b, less: 'RLOO(2)', more: 'ARM()', criterion: luck}]"], "criterion is one of"),
        (["measure.replicates=3"], "measure.replicates must be an integer of at least 64"),
        (["measure.precision=0"], "measure.precision must be a number in"),
        (["threads=0"], "threads must be an integer of at least 1"),
    ],
)
def test_refusals_are_one_sentence_before_any_work(overrides, sentence, tmp_path):
    out = tmp_path / "out"
    overrides = [override.replace("'", '"') for override in overrides]
    with pytest.raises(UserError, match=re.escape(sentence).replace(r"\\\(", r"\(").replace(r"\\\)", r"\)")) as error:
        run(variance("report=disarm", "quick=false", f"out={out}", *overrides))
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    assert not out.exists()


def test_an_unknown_report_and_a_missing_checkpoint(tmp_path, trained):
    command = [sys.executable, "-m", "experiments.studies.variance", "report=disram"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CONF.parent)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "disram" in done.stderr and "disarm" in done.stderr
    cells = f"report.cells=[{{kind: vae, run: '{trained['bernoulli']}', step: 30}}]"
    with pytest.raises(UserError, match=r"has no checkpoint-30\.pt; train with run\.keep=\[30\]"):
        run(variance("report=disarm", "quick=false", f"out={tmp_path / 'out'}", cells))


def test_a_file_of_another_problem_is_not_taken_up(tmp_path):
    out = tmp_path / "out"
    run(variance("report=toy", f"out={out}"))
    first, second = sorted((out / "cells").iterdir())
    shutil.copy(first, second)
    with pytest.raises(UserError, match="on another problem"):
        run(variance("report=toy", f"out={out}"))


def test_what_draws_and_tests_is_not_loaded_before_it_is_used():
    commands = ", ".join(f"experiments.studies.{name}.__main__" for name in ("variance", "stages", "table"))
    heavy = "{'scipy', 'matplotlib', 'jinja2', 'markdown', 'sklearn', 'PIL'}"
    code = f"import sys, {commands}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CONF.parent)
    assert done.stdout == "[]\n"


def row(cell, name, variance, error, unbiased=True, bias2=0.0, bias2_se=0.0, evaluations=2):
    made = {"cell": cell, "name": name, "unbiased": unbiased, "failure": None, "norm2": 1.0, "evaluations": evaluations}
    made |= {"variance": variance, "variance_se": error, "bias2": bias2, "bias2_se": bias2_se}
    made |= {"variance_evaluations": evaluations * variance, "variance_evaluations_se": evaluations * error}
    return made


def by_hand(margin=0.0):
    cells = tuple(
        Cell("table", {"seed": seed}, {"seed": seed}, dict.fromkeys(["RLOO(2)", "DisARM()"], "")) for seed in range(2)
    )
    claim = Claim("less", "somebody", "DisARM()", "RLOO(2)", margin=margin)
    return Report("t", "q", cells, (claim,), {}, (), None, {})


@pytest.mark.parametrize(
    "first, second, margin, word",
    [
        ((0.5, 0.01), (0.5, 0.01), 0.0, "held"),
        ((0.5, 0.01), (1.0, 0.01), 0.0, "held where decided"),
        ((0.5, 0.01), (2.0, 0.01), 0.0, "not everywhere"),
        ((1.0, 0.01), (2.0, 0.01), 0.0, "did not hold"),
        ((1.0, 0.01), (1.0, 0.01), 0.0, "undecided"),
        ((0.5, 0.30), (0.5, 0.30), 0.0, "undecided"),
        ((1.0, 0.01), (1.0, 0.01), 0.1, "held"),
        ((1.2, 0.01), (1.2, 0.01), 0.1, "did not hold"),
    ],
)
def test_claims_are_decided_by_the_noise(first, second, margin, word):
    rows = []
    for seed, (value, error) in enumerate((first, second)):
        rows += [row(f"table seed={seed}", "RLOO(2)", 1.0, 0.01), row(f"table seed={seed}", "DisARM()", value, error)]
    (verdict,) = decide(by_hand(margin), rows, 0.95)
    assert verdict.word == word
    assert verdict.lines[0].ratio == pytest.approx(first[0])
    assert sum(verdict.count(decision) for decision in ("yes", "open", "no")) == 2


def test_what_failed_decides_nothing():
    rows = [row("table seed=0", "RLOO(2)", 1.0, 0.01), {**row("table seed=0", "DisARM()", 0.1, 0.01), "failure": "f"}]
    (verdict,) = decide(by_hand(), rows, 0.95)
    assert verdict.word == "undecided" and verdict.span == ""


def test_a_decision_on_equal_numbers_is_as_rare_as_stated():
    """4,000 tests of level 0.05 on standard errors of 32 groups: a rate of 0.05 with a standard error of 0.0034."""
    generator = torch.Generator().manual_seed(1)
    groups = torch.randn(2, 4000, 32, generator=generator, dtype=torch.float64)
    means, errors = groups.mean(-1), groups.std(-1) / math.sqrt(32)
    numbers = torch.stack((means, errors), -1).tolist()
    pairs = ([Estimate(*one, 31) for one in pair] for pair in zip(*numbers, strict=True))
    wrong = sum(below(*pair, level=0.05) != "open" for pair in pairs) / 4000
    assert abs(wrong - 0.05) < 5 * 0.0034


def test_times_are_judged_by_their_own_degrees_of_freedom():
    rows = [row("table seed=0", name, 1.0, 0.01) for name in ("RLOO(2)", "DisARM()")]
    for one, value in zip(rows, (1.0, 0.93), strict=True):
        one |= {"variance_time": value, "variance_time_se": 0.02}
    claim = Claim("less", "somebody", "DisARM()", "RLOO(2)", criterion="variance_time")
    report = Report("t", "q", by_hand().cells[:1], (claim,), {}, (), None, {})
    for freedom, word in ((31, "held"), (2, "undecided")):
        (verdict,) = decide(report, [{**one, "variance_time_freedom": freedom} for one in rows], 0.95)
        assert verdict.word == word


def test_crossovers_by_hand():
    rows = [
        row("a", "RLOO(2)", 10.0, 0.1),
        row("a", "Soft(1.0)", 1.0, 0.01, unbiased=False, bias2=0.5, bias2_se=0.01, evaluations=1),
        row("a", "Soft(2.0)", 1.0, 0.01, unbiased=False, bias2=0.01, bias2_se=0.01, evaluations=1),
        row("a", "Soft(0.1)", 30.0, 0.1, unbiased=False, bias2=0.5, bias2_se=0.01, evaluations=1),
    ]
    found = {one.name: one for one in crossovers(rows, "RLOO(2)", 0.95)}
    assert found["Soft(1.0)"].evaluations == pytest.approx((20 - 1) / 0.5)
    assert found["Soft(1.0)"].relative_bias == pytest.approx(0.5**0.5)
    assert found["Soft(2.0)"].evaluations == math.inf
    assert found["Soft(0.1)"].evaluations == 0.0


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_the_classic_gradient_is_the_enumerated_one(latent):
    problem = classic(latent, variables=4, categories=3)
    exact = dg.exact.gradient(problem.f, problem.logits, latent)
    torch.testing.assert_close(problem.gradient, exact, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
def test_the_truth_of_many_dimensions_is_the_closed_form(latent):
    problem = classic(latent, variables=60, categories=5)
    names = {"RLOO(2)": dg.RLOO(2, latent)}
    found = analysis.compare(
        problem.f, problem.logits, names, reference=problem.reference, precision=0.5, rounds=0, progress=False
    )
    torch.testing.assert_close(found.truth.gradient, problem.gradient.flatten(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("latent", ["categorical", "bernoulli"])
@pytest.mark.parametrize("family", [classic, quadratic, table, ising, small])
def test_families_take_any_shape_of_points_and_have_a_gradient(family, latent):
    problem = family(latent=latent)
    draw = dg.RLOO(2, latent).sample(problem.logits)
    values = problem.f(draw.points)
    assert values.shape == (2,)
    many = problem.f(draw.points.unsqueeze(1).expand(2, 5, *draw.points.shape[1:]))
    torch.testing.assert_close(many, values.unsqueeze(1).expand(2, 5))
    points = draw.points.clone().requires_grad_()
    torch.testing.assert_close(problem.f(points), values)
    assert torch.autograd.grad(problem.f(points).sum(), points)[0].abs().sum() > 0


def test_specs_are_calls_and_nothing_else():
    assert repr(estimator("RLOO(4)", "bernoulli")) == repr(dg.RLOO(4, "bernoulli"))
    assert repr(estimator("Flow(NearlyDistinct(2))", "categorical")) == repr(dg.Flow(dg.NearlyDistinct(2)))
    for spec in ("__import__('os')", "dg.RLOO(2)", "RLOO", "7", "NearlyDistinct(2)", "RLOO(*[2])"):
        with pytest.raises(UserError):
            estimator(spec, "categorical")


def test_templates_are_filled_with_values_and_with_the_cell_s_sizes():
    found = expand(["RLOO({categories})", "A({t}, {w})"], {"t": [1, 2], "w": ["'x'"]}, {"categories": 4})
    assert found == {"RLOO(4)": "RLOO(categories)", "A(1, 'x')": "A(t, 'x')", "A(2, 'x')": "A(t, 'x')"}


def test_saved_comparisons_are_merged_shown_and_drawn(tmp_path, monkeypatch, capsys):
    problem = table(variables=2, categories=3)
    names = {spec: estimator(spec, "categorical") for spec in ("RLOO(2)", "RLOO(4)", "ReinMax(1.0)")}
    files = [tmp_path / f"{seed}.pt" for seed in (0, 1)]
    for seed, file in enumerate(files):
        analysis.compare(problem.f, problem.logits, names, seed=seed, path=file, precision=0.9, progress=False)
    both, picture = tmp_path / "both.pt", tmp_path / "picture.png"
    arguments = [*map(str, files), "--merge", str(both), "--plot", "bias_variance", "--to", str(picture)]
    monkeypatch.setattr(sys, "argv", ["show", *arguments])
    show.main()
    assert "RLOO(4)" in capsys.readouterr().out
    assert picture.stat().st_size > 1000
    merged, one = analysis.Comparison.load(both), analysis.Comparison.load(files[0])
    assert merged.results["RLOO(2)"].replicates > one.results["RLOO(2)"].replicates
    monkeypatch.setattr(sys, "argv", ["show", str(files[0]), str(files[0])])
    with pytest.raises(SystemExit, match="2"):
        show.main()
    assert "with seed 0" in capsys.readouterr().err


def test_findings_take_sections_from_the_pages(tmp_path):
    (tmp_path / "report.md").write_text("# R\n\n## Claims\n\nnew\n\n### Claim 1: a\n\nb\n")
    old = "before\n<!-- report r: Claims -->\nold\n<!-- end -->\n<!-- report s: Claims -->\nkept\n<!-- end -->\n"
    text = findings.update(old, {"r": Path(tmp_path)})
    assert "new" in text and "old" not in text and "kept" in text and "Claim 1" not in text
    assert findings.update(text, {"r": Path(tmp_path)}) == text
    with pytest.raises(UserError, match="has no section 'Nothing'"):
        findings.update(old.replace("r: Claims", "r: Nothing"), {"r": Path(tmp_path)})


@pytest.mark.slow
def test_the_command_trains_a_run_of_its_own(tmp_path):
    overrides = ["report=vae", f"out={tmp_path}", "progress=false", *TINY[:3]]
    command = [sys.executable, "-m", "experiments.studies.variance", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CONF.parent)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "vae" / "checkpoint-20.pt").exists()
    assert (tmp_path / "layers.csv").exists()
    assert report.KINDS
