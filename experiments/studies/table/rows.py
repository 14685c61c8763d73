"""The lines of the table, and its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import discretegrad as dg
from experiments.studies import page
from experiments.studies.page import digits
from experiments.studies.problems import SMALL, small
from experiments.studies.table.fit import BATCH, STEPS
from experiments.studies.table.measure import DRAWS, costs, evaluations, measure
from experiments.studies.table.variants import Variant, variants

TEMPLATE = Path(__file__).parent / "page.md.j2"


def row(variant: Variant, names: Sequence[str] = SMALL, time: float | None = None) -> dict[str, str]:
    """Measure one variant on problems; the text of its line by column.

    Columns: `objective`, "mean" or "bound" for the multi-sample bound with f as log-weight; `exact`, "no" where numbers
    are of a long run; `bias error`, its standard error, 0 where exact.
    """
    latent = variant.latent
    problems = {name: small(name, latent) for name in names}
    built = {name: variant.build(problem) for name, problem in problems.items()}
    first = next(iter(built.values()))
    base = dg.VIMCO(2, latent=latent) if first.of_bound else dg.RLOO(2, latent)
    found = {name: measure(built[name], problem) for name, problem in problems.items()}
    line = {
        "estimator": variant.label,
        "latent": latent,
        "objective": "bound" if first.of_bound else "mean",
        "evaluations": digits(evaluations(variant)),
        "unbiased": "yes" if first.unbiased else "no",
        "exact": "yes" if all(each.exact for each in found.values()) else "no",
    }
    for name, each in found.items():
        line[f"bias {name}"] = digits(each.bias)
        line[f"bias error {name}"] = digits(each.error)
        line[f"variance {name}"] = digits(each.variance / measure(base, problems[name]).variance)
    return line | {"time": "" if time is None else f"{time:.1f}"}


def rows(device: str) -> Iterator[dict[str, str]]:
    """Measure all variants."""
    listed = variants()
    return (row(variant, time=cost) for variant, cost in zip(listed, costs(listed, device), strict=True))


def text(lines: page.Rows, device: str) -> str:
    """The page, from the lines of the CSV file."""
    return page.render(TEMPLATE, lines=lines, problems=SMALL, device=device, draws=DRAWS, steps=STEPS, batch=BATCH)
