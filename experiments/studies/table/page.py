"""The table as CSV and Markdown."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import discretegrad as dg
from experiments.studies.table.fit import BATCH, STEPS
from experiments.studies.table.measure import DRAWS, costs, evaluations, measure
from experiments.studies.table.problems import PROBLEMS, problem
from experiments.studies.table.variants import Variant, variants

DOCS = Path(__file__).parents[3] / "docs"


@dataclass(frozen=True)
class Row:
    """One line of the table; what is None was not measured."""

    estimator: str
    latent: str
    objective: str
    """"mean", or "bound" for the multi-sample bound with f as log-weight."""
    evaluations: str
    unbiased: str
    exact: str
    """Whether the numbers are exact: "yes", or "no" for a long run."""
    bias: list[float]
    bias_error: list[float]
    """Standard errors, 0 where exact."""
    variance: list[float]
    time: float | None = None

    def cells(self) -> dict[str, str]:
        """Text by column, as in the CSV file."""
        names = ("estimator", "latent", "objective", "evaluations", "unbiased", "exact")
        cells = {name: getattr(self, name) for name in names}
        for i, name in enumerate(PROBLEMS[: len(self.bias)]):
            cells[f"bias {name}"] = digits(self.bias[i])
            cells[f"bias error {name}"] = digits(self.bias_error[i])
            cells[f"variance {name}"] = digits(self.variance[i])
        cells["time"] = "" if self.time is None else f"{self.time:.1f}"
        return cells


def digits(number: float) -> str:
    """Three digits; nothing where there is only rounding."""
    return "0" if abs(number) < 1e-9 else f"{number:.3g}"


def row(variant: Variant, names: tuple[str, ...] = PROBLEMS, time: float | None = None) -> Row:
    """Measure one variant on the first problems."""
    problems = [problem(name, variant.latent) for name in names]
    built = [variant.build(each) for each in problems]
    bound = built[0].of_bound
    base = dg.VIMCO(2, latent=variant.latent) if bound else dg.RLOO(2, variant.latent)
    found = [measure(estimator, each) for estimator, each in zip(built, problems, strict=True)]
    return Row(
        variant.label,
        variant.latent,
        "bound" if bound else "mean",
        digits(evaluations(variant)),
        "yes" if built[0].unbiased else "no",
        "yes" if all(each.exact for each in found) else "no",
        [each.bias for each in found],
        [each.error for each in found],
        [own.variance / measure(base, each).variance for own, each in zip(found, problems, strict=True)],
        time,
    )


def rows(device: str | None = "cpu") -> Iterator[Row]:
    """Measure all variants; without times if the device is None."""
    listed = variants()
    spent: list[float | None] = costs(listed, device) if device else [None] * len(listed)
    return (row(variant, time=cost) for variant, cost in zip(listed, spent, strict=True))


def markdown(lines: list[dict[str, str]], device: str) -> str:
    """The page, from the lines of the CSV file."""
    page = [
        "# Estimators, measured",
        "",
        "Written by `python -m experiments.studies.table`; do not edit. `tests/test_table.py` fails where it is not "
        "current.",
        "",
        "- **evaluations** of f for one estimate. Where they depend on the logits' shape: of three variables (of three",
        "  categories, or Bernoulli); where they depend on the noise: their mean on the problem *random*.",
        "- **bias**: distance of the mean gradient from the true one, relative to the true one. Exact, by enumeration",
        f"  in float64; with ± it comes from {DRAWS:,} draws, and its standard error is given.",
        "- **variance**: total variance of the gradient over that of `RLOO(num_samples=2)`, evaluations not counted.",
        "- **time**: of a draw, a cheap f and backward, over leave-one-out with as many evaluations (REINFORCE",
        f"  for one), in one interleaved run; 100 x 16 variables (8 categories), {device}. Only orders of",
        "  magnitude carry over to other machines. What learns inside an estimator is not counted.",
        "- **Linear** is `dg.nn.LinearControlVariate` with the coefficients of the exact least-squares fit to each",
        "  problem. **Quadratic** (`dg.nn.QuadraticControlVariate`, rank 4), networks (one hidden layer of 16) and",
        f"  `learn=True` were fitted to each by {STEPS} steps of Adam on {BATCH} draws, from a fixed seed. How an",
        "  estimator does before it has learned is another question.",
        "",
        "Three small problems: *toy*, the squared distance of the mean of z, spread over [0, 1], from 0.499; *random*,",
        "a random smooth function of three variables jointly; *saturated*, one where a category has nearly all the",
        "probability. They rank nothing in general.",
    ]
    for latent, title in (("categorical", "Categorical latents"), ("bernoulli", "Bernoulli latents")):
        page += ["", f"## {title}", ""]
        page += _table([line for line in lines if (line["latent"], line["objective"]) == (latent, "mean")])
    page += [
        "",
        "## The multi-sample bound",
        "",
        "`E log mean_k exp f(z_k)` of two points, with the same f as log-weight. Bias is measured against this bound's",
        "gradient, by enumeration of all pairs; variance is over that of `VIMCO()`.",
    ]
    for latent in ("categorical", "bernoulli"):
        page += ["", f"### {latent.capitalize()}", ""]
        page += _table([line for line in lines if (line["latent"], line["objective"]) == (latent, "bound")])
    return "\n".join(page) + "\n"


def _table(lines: list[dict[str, str]]) -> list[str]:
    header = ["estimator", "evaluations", "unbiased"]
    header += [f"{column}, {name}" for column in ("bias", "variance") for name in PROBLEMS] + ["time"]
    table = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * 1 + " --- |" + " ---: |" * 7]
    for line in lines:
        biases = [_with_error(line[f"bias {name}"], line[f"bias error {name}"]) for name in PROBLEMS]
        ratios = [line[f"variance {name}"] for name in PROBLEMS]
        cells = [f"`{line['estimator']}`", line["evaluations"], line["unbiased"], *biases, *ratios]
        table.append("| " + " | ".join([*cells, line["time"] or "-"]) + " |")
    return table


def _with_error(bias: str, error: str) -> str:
    return bias if error == "0" else f"{bias} ± {float(error):.1g}"


def read(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
