"""The files that are written."""

from __future__ import annotations

import argparse
from typing import Any

from experiments.engine.files import write_table, write_whole

COLUMNS = ("step", "estimator", "origin", "evaluations", "variance", "error", "squared_bias", "time", "nats", "signal")


def markdown(lines: list[dict[str, str]], title: str) -> str:
    """The page, from the lines of the CSV file."""
    steps = list(dict.fromkeys(line["step"] for line in lines))
    page = [
        "# Gradient variance on a VAE, at stages of its training",
        "",
        f"Written by `python -m experiments.studies.stages`; do not edit. {title}",
        "",
        "Total variance of the gradient w.r.t. the posterior's logits over that of `RLOO(2)` at the same stage, with",
        "its standard error. For biased ones the squared bias follows behind a plus, in the same unit. **time** is",
        "that of a whole training step, learning of the estimator's own modules included, over that with `RLOO(2)`:",
        "one CPU thread, median of interleaved rounds at the last stage.",
    ]
    for evaluations in ("2", "4", "8"):
        page += ["", f"## {evaluations} evaluations", ""]
        page += ["| estimator | | " + " | ".join(f"step {step}" for step in steps) + " | time |"]
        page += ["| --- | --- |" + " ---: |" * (len(steps) + 1)]
        chosen = [line for line in lines if line["evaluations"] == evaluations]
        names = {line["estimator"]: line for line in chosen}
        last = {line["estimator"]: float(line["variance"]) for line in chosen if line["step"] == steps[-1]}
        for name in sorted(names, key=lambda n: (names[n]["origin"] == "biased", last[n])):
            of_step = {line["step"]: line for line in chosen if line["estimator"] == name}
            cells = [_cell(of_step[step]) for step in steps]
            page.append(
                f"| {name} | {names[name]['origin']} | " + " | ".join([*cells, of_step[steps[-1]]["time"]]) + " |"
            )
        for step in steps:
            page += ["", _verdict([line for line in chosen if line["step"] == step], step)]
    return "\n".join(page) + "\n"


def _cell(line: dict[str, str]) -> str:
    bias = f" + {line['squared_bias']}" if line["squared_bias"] else ""
    return f"{line['variance']} ± {line['error']}{bias}"


def _verdict(lines: list[dict[str, str]], step: str) -> str:
    def best(origin: str) -> dict[str, str]:
        return min((line for line in lines if line["origin"] == origin), key=lambda line: float(line["variance"]))

    ours, published = best("ours"), best("published")
    ratio = float(published["variance"]) / float(ours["variance"])
    relative = sum((float(line["error"]) / float(line["variance"])) ** 2 for line in (ours, published)) ** 0.5
    pace = float(ours["time"]) / float(published["time"])
    return (
        f"Step {step}: of the unbiased ones ours, {ours['estimator']}, has {ratio:.2f} ± {ratio * relative:.2f} times "
        f"less variance than the best published, {published['estimator']}, at {pace:.2f} times its time per step."
    )


def write(lines: list[dict[str, str]], options: argparse.Namespace) -> None:
    """Both files, whole, in the order of the steps."""
    options.out.mkdir(parents=True, exist_ok=True)
    lines = sorted(lines, key=lambda line: int(line["step"]))
    stages = [line for line in lines if line["estimator"] == "RLOO(2)"]
    title = (
        f"Modules that the run had not learned had {options.learn} steps on the frozen model; {options.images} images. "
        "The variance of `RLOO(2)`, and in its unit the squared norm of the mean gradient: "
        + "; ".join(f"{s['nats']} nats squared and {s['signal']} at step {s['step']}" for s in stages)
        + "."
    )
    write_table(options.out / "stages.csv", COLUMNS, lines)
    write_whole(options.out / "stages.md", lambda file: file.write(markdown(lines, title).encode()))


def rounded(value: Any) -> str:
    """Text of a cell: three digits."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
