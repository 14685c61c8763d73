"""What studies that train many runs have in common: their command, and the rows that they keep of each run."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from experiments.command import refuse
from experiments.engine import Interrupted
from experiments.errors import UserError
from experiments.files import write_table
from experiments.studies import page
from experiments.train import train

ROOT = Path(__file__).parents[2]
Row = dict[str, str]


def parsed(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The study's own options, and what goes to `experiments.train`, which is NAME=VALUE; else it exits.

    The folder that is written to is there then: a run's rows are kept when it is done, perhaps hours later.
    """
    options, arguments = parser.parse_known_args()
    unknown = [argument for argument in arguments if argument.startswith("-") or "=" not in argument]
    if unknown:
        parser.error(f"unknown argument {unknown[0]}; what goes to experiments.train is NAME=VALUE.")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out={options.out} can be no folder ({error}); name another.")
    return options, arguments


@contextlib.contextmanager
def told() -> Iterator[None]:
    """End the command with a sentence where its work is refused or stopped."""
    try:
        yield
    except UserError as error:
        refuse(str(error))
    except Interrupted as stop:
        print("stopped; go on with the same command", file=sys.stderr)
        sys.exit(128 + stop.signum)


def composed(overrides: Sequence[str]) -> DictConfig:
    """The configuration of a run."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", list(overrides))


def last_result(config: DictConfig) -> dict[str, Any]:
    """What the run's folder holds of the last figures; step 0 where there are none."""
    path = Path(config.run.dir) / "result.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"step": 0}
    return found


def result_of(config: DictConfig) -> dict[str, Any]:
    """The last figures of a run, which is trained unless that is done.

    Raises:
        UserError, Interrupted: see `train`.
    """
    result = last_result(config)
    return result if result["step"] >= config.run.steps else train(config).result or {}


def study(name: str, parts: Sequence[str], seeds: Sequence[int] | None, runs: str) -> argparse.ArgumentParser:
    """The command of a study: its part, and what all studies are told.

    Args:
        name: of its package, and of the command.
        parts: of the work.
        seeds: None: as the part wants.
        runs: the folder for the runs, below runs/.
    """
    parser = argparse.ArgumentParser(f"python -m experiments.studies.{name}", allow_abbrev=False)
    parser.add_argument("part", choices=tuple(parts))
    parser.add_argument("--seeds", type=numbers, default=seeds, help="0,1,2")
    parser.add_argument("--runs", type=Path, default=Path("runs", runs), help="folder for the runs")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder for the rows and the page")
    return parser


def numbers(text: str) -> tuple[int, ...]:
    """What commas separate."""
    return tuple(int(part) for part in text.split(","))


def file_name(text: str) -> str:
    """With a dash in the place of all but letters and digits."""
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def cells(values: Mapping[str, Any], columns: Sequence[str], digits: int = 5) -> Row:
    """A line of a CSV file: floats with so many digits, nothing for None and what there is not."""
    found = {name: values.get(name) for name in columns}
    return {n: f"{v:.{digits}g}" if isinstance(v, float) else "" if v is None else str(v) for n, v in found.items()}


def read(path: Path) -> list[Row]:
    """A CSV file's lines; none where it is not there yet."""
    return page.read(path) if path.exists() else []


def keep(
    rows: Sequence[Row],
    path: Path,
    columns: Sequence[str],
    run: Callable[[Row], tuple[str, ...]],
    order: Callable[[Row], Any] | None = None,
) -> None:
    """Put rows into a CSV file, in the place of those of the same runs.

    Args:
        rows: of some runs, all of each.
        path, columns: of the file.
        run: which run a row is of.
        order: of the lines; None: by the run.
    """
    fresh = {run(row) for row in rows}
    others = [row for row in read(path) if run(row) not in fresh]
    key: Any = order or run
    write_table(path, columns, sorted([*others, *rows], key=key))
