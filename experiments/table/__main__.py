"""The table of all estimators: evaluations, bias, variance and cost, measured. Writes docs/estimators.md and .csv.

    python -m experiments.table

Bias and variance are exact, by enumeration in float64, where an estimator has finitely many outcomes; else they come
from a long run with a fixed seed, and the bias has its standard error. Variances are ratios to RLOO(2), times to
leave-one-out with as many evaluations, in one interleaved run.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import discretegrad as dg

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("reinforce", {}),
    ("reinforce", {"num_samples": 4}),
    ("rloo", {"num_samples": 2}),
    ("rloo", {"num_samples": 4}),
    ("disarm", {}),
    ("disarm", {"num_pairs": 2}),
    ("disarm_iw", {}),
    ("disarm_iw", {"order": "descending"}),
    ("disarm_sb", {}),
    ("disarm_tree", {}),
    ("disarm_tree", {"tree": "huffman"}),
    ("disarm_tree", {"num_pairs": 2}),
    ("arms", {"num_samples": 2}),
    ("arms", {"num_samples": 4}),
    ("arms", {"num_samples": 4, "copula": "gaussian"}),
    ("carms", {"num_samples": 2}),
    ("carms", {"num_samples": 4}),
    ("carms", {"num_samples": 4, "copula": "gaussian"}),
    ("exact", {}),
    ("straight_through", {}),
    ("gumbel_softmax", {"temperature": 0.5}),
    ("gumbel_softmax", {"temperature": 0.5, "hard": True}),
    ("gumbel_rao", {"num_rao": 10, "temperature": 0.5}),
    ("gapped_st", {}),
    ("reinmax", {}),
    ("imle", {}),
]
"""Names in `discretegrad.ESTIMATORS`, and arguments. A new estimator gets its rows here, and nothing else."""

DOCS = Path(__file__).parents[1] / "docs"
PROBLEMS = ("toy", "random", "saturated")
OUTCOMES = 2**20
"""More joint outcomes than these are not enumerated."""
DRAWS = 100_000
"""Of a long run."""


@dataclass(frozen=True)
class Row:
    """One line of the table; what is None was not measured."""

    estimator: str
    latent: str
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
        cells = {name: getattr(self, name) for name in ("estimator", "latent", "evaluations", "unbiased", "exact")}
        for i, problem in enumerate(PROBLEMS):
            cells[f"bias {problem}"] = digits(self.bias[i])
            cells[f"bias error {problem}"] = digits(self.bias_error[i])
            cells[f"variance {problem}"] = digits(self.variance[i])
        cells["time"] = "" if self.time is None else f"{self.time:.1f}"
        return cells


def digits(number: float) -> str:
    """Three digits; nothing where there is only rounding."""
    return "0" if abs(number) < 1e-9 else f"{number:.3g}"


def variants() -> Iterable[tuple[str, str, Callable[[], dg.Estimator]]]:
    """(label, latent, builder) of every row, categorical ones first."""
    rows = []
    for name, arguments in VARIANTS:
        kind = dg.ESTIMATORS[name]
        spelled = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        label = f"{getattr(kind, '__name__', name)}({spelled})"
        if "latent" in inspect.signature(kind).parameters:
            for latent in ("categorical", "bernoulli"):
                rows.append((label, latent, _builder(kind, {**arguments, "latent": latent})))
        else:
            rows.append((label, kind(**arguments).latent, _builder(kind, arguments)))
    return sorted(rows, key=lambda row: row[1] != "categorical")


def _builder(kind: Callable[..., dg.Estimator], arguments: dict[str, Any]) -> Callable[[], dg.Estimator]:
    return lambda: kind(**arguments)


def problem(name: str, latent: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """f, from points `[N, V, C]` (Bernoulli `[N, V]`) to `[N]`, and logits; always the same ones.

    Args:
        name: "toy", the squared distance of the mean id (spread over [0, 1]) from 0.499; "random", a random smooth
            function of three variables jointly; "saturated", one where a category has nearly all the probability.
        latent: "categorical" (three categories) or "bernoulli".
    """
    generator = torch.Generator().manual_seed(0)
    variables, categories = 3 if name == "random" or latent == "bernoulli" else 2, 3 if latent == "categorical" else 2
    inner = torch.randn(variables * categories, 8, generator=generator, dtype=torch.float64)
    outer = torch.randn(8, generator=generator, dtype=torch.float64)
    logits = torch.randn(variables, categories, generator=generator, dtype=torch.float64)
    if name == "saturated":
        logits[:, 0] += 5.0
    spread = torch.linspace(0.0, 1.0, categories, dtype=torch.float64)

    def f(points: Tensor) -> Tensor:
        if points.ndim == 2:
            points = torch.stack((1 - points, points), -1)
        if name == "toy":
            return ((points @ spread).mean(-1) - 0.499).square()
        return (points.flatten(1) @ inner).tanh() @ outer

    return f, logits if latent == "categorical" else logits[:, 1] - logits[:, 0]


def measure(estimator: dg.Estimator, name: str) -> tuple[float, float, float, bool]:
    """Relative bias, its standard error, total variance, and whether they are exact, on one problem."""
    f, logits = problem(name, estimator.latent)
    truth = dg.exact.gradient(f, logits, estimator.latent).flatten()
    points = estimator.evaluations or 1
    if (3 if estimator.latent == "categorical" else 2) ** (points * logits.shape[0]) <= OUTCOMES:
        try:
            moments = dg.exact.moments(estimator, f, logits)
        except ValueError:  # no finite law
            pass
        else:
            error = (moments.mean.flatten() - truth).norm() / truth.norm()
            return float(error), 0.0, float(moments.total_variance), True
    generator = torch.Generator().manual_seed(1)
    parts = []
    for _ in range(4):
        leaf = logits.expand(DRAWS // 4, *logits.shape).clone().requires_grad_()
        draw = estimator.sample(leaf, generator)
        values = torch.stack([f(points) for points in draw.points])
        parts.append(torch.autograd.grad(estimator.surrogate(draw, values).sum(), leaf)[0].flatten(1))
    gradients = torch.cat(parts)
    covariance = gradients.T.cov()
    miss = gradients.mean(0) - truth
    # The squared miss is too large by the variance of the mean.
    square = (miss.square().sum() - covariance.trace() / DRAWS).clamp_min(0.0)
    along = miss @ covariance @ miss / miss.square().sum() if square > 0 else covariance.trace()
    return (
        float(square.sqrt() / truth.norm()),
        float((along / DRAWS).sqrt() / truth.norm()),
        float(covariance.trace()),
        False,
    )


def costs(built: list[dg.Estimator], device: str) -> list[float | None]:
    """Time of a draw, a cheap f and backward, over that of leave-one-out with as many evaluations (REINFORCE for 1).

    Every round times all of them once; the fastest round of each counts, for what else a machine does only adds time.
    """

    def step(estimator: dg.Estimator) -> float:
        shape = (100, 16) if estimator.latent == "bernoulli" else (100, 16, 8)
        logits = torch.zeros(shape, device=device, requires_grad=True)
        start = time.perf_counter()
        draw = estimator.sample(logits)
        values = draw.points.flatten(2).square().sum(-1)
        estimator.surrogate(draw, values).sum().backward()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def baseline(estimator: dg.Estimator) -> dg.Estimator:
        points = estimator.evaluations or 1
        return dg.RLOO(points, estimator.latent) if points > 1 else dg.Reinforce(latent=estimator.latent)

    able = [e for e in built if e.evaluations is not None]  # enumeration has no such size
    everyone = list({e: None for e in [*able, *map(baseline, able)]})
    times: dict[dg.Estimator, list[float]] = {e: [] for e in everyone}
    for turn in range(22):
        for estimator in everyone:
            taken = step(estimator)
            if turn >= 2:
                times[estimator].append(taken)
    fastest = {e: min(taken) for e, taken in times.items()}
    return [fastest[e] / fastest[baseline(e)] if e in fastest else None for e in built]


def rows(device: str | None = "cpu") -> list[Row]:
    """Measure all variants; without times if the device is None."""
    listed = list(variants())
    built = [build() for _, _, build in listed]
    spent: list[float | None] = costs(built, device) if device else [None] * len(built)
    base = {(name, latent): measure(dg.RLOO(2, latent), name)[2] for name in PROBLEMS for latent in dg.latent.LATENTS}
    result = []
    for (label, latent, _), estimator, cost in zip(listed, built, spent, strict=True):
        found = [measure(estimator, name) for name in PROBLEMS]
        result.append(
            Row(
                label,
                latent,
                "C^V" if estimator.evaluations is None else str(estimator.evaluations),
                "yes" if estimator.unbiased else "no",
                "yes" if all(exact for *_, exact in found) else "no",
                [bias for bias, *_ in found],
                [error for _, error, *_ in found],
                [variance / base[name, latent] for name, (_, _, variance, _) in zip(PROBLEMS, found, strict=True)],
                cost,
            )
        )
    return result


def markdown(lines: list[dict[str, str]], device: str) -> str:
    """The page, from the lines of the CSV file."""
    page = [
        "# Estimators, measured",
        "",
        "Written by `python -m experiments.table`; do not edit. `tests/test_table.py` fails where it is not current.",
        "",
        "- **evaluations** of f for one estimate.",
        "- **bias**: distance of the mean gradient from the true one, relative to the true one. Exact, by enumeration",
        f"  in float64; with ± it comes from {DRAWS:,} draws, and its standard error is given.",
        "- **variance**: total variance of the gradient over that of `RLOO(num_samples=2)`, evaluations not counted.",
        "- **time**: of a draw, a cheap f and backward, over leave-one-out with as many evaluations (REINFORCE",
        f"  for one), in one interleaved run; 100 x 16 variables (8 categories), {device}. Only orders of",
        "  magnitude carry over to other machines.",
        "",
        "Three small problems: *toy*, the squared distance of the mean of z, spread over [0, 1], from 0.499; *random*,",
        "a random smooth function of three variables jointly; *saturated*, one where a category has nearly all the",
        "probability. They rank nothing in general.",
    ]
    for latent, title in (("categorical", "Categorical latents"), ("bernoulli", "Bernoulli latents")):
        page += ["", f"## {title}", ""]
        header = ["estimator", "evaluations", "unbiased"]
        header += [f"{column}, {name}" for column in ("bias", "variance") for name in PROBLEMS] + ["time"]
        page += ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * 1 + " --- |" + " ---: |" * 7]
        for line in lines:
            if line["latent"] == latent:
                biases = [_with_error(line[f"bias {name}"], line[f"bias error {name}"]) for name in PROBLEMS]
                ratios = [line[f"variance {name}"] for name in PROBLEMS]
                cells = [f"`{line['estimator']}`", line["evaluations"], line["unbiased"], *biases, *ratios]
                page.append("| " + " | ".join([*cells, line["time"] or "-"]) + " |")
    return "\n".join(page) + "\n"


def _with_error(bias: str, error: str) -> str:
    return bias if error == "0" else f"{bias} ± {float(error):.1g}"


def read(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", help="where the times are taken")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [row.cells() for row in rows(options.device)]
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "estimators.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    device = "one CPU thread" if options.device == "cpu" else torch.cuda.get_device_name()
    (options.out / "estimators.md").write_text(markdown(lines, device))


if __name__ == "__main__":
    main()
