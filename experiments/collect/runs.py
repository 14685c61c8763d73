"""What a run's folder holds."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.command import flat, placeless
from experiments.engine.record import TIMES
from experiments.errors import UserError

FILES = ("metrics.csv", "result.json", "checkpoint.pt")
"""Any of them makes a folder a run's."""
OWN = (
    "run.seed",
    "run.dir",
    "run.progress",
    "run.keep",
    "run.checkpoint_every",
    "run.checkpoint_minutes",
    "resume",
    "threads",
    "jobs",
    "device",
)
"""In what runs of one group may differ, besides where their data lie."""


@dataclass
class Run:
    """A run, as far as it can be read."""

    folder: Path
    state: str = "left out"
    """finished, unfinished, or left out."""
    note: str = ""
    """What is wrong with it, if anything is."""
    system: str = ""
    """The class of its task."""
    config: dict[str, Any] = field(default_factory=dict)
    """All that it must share with others of its group, flat."""
    seed: int = 0
    steps: int = 0
    measures: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)


def found_in(folders: Sequence[Path]) -> list[Path]:
    """The runs' folders in these, in order and each once; what is hidden is none.

    Raises:
        UserError: for a folder without any.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder; name folders of runs, or one that holds them.")
        files = [path.relative_to(folder) for name in FILES for path in folder.rglob(name)]
        own = {folder / path.parent for path in files if not any(part.startswith(".") for part in path.parts)}
        if not own:
            raise UserError(f"{folder} holds no run: there is neither {', '.join(FILES[:-1])} nor {FILES[-1]}.")
        found |= dict.fromkeys(sorted(own))
    return list(found)


def read(folder: Path) -> Run:
    """A run; what is missing or unreadable is noted."""
    run = Run(folder)
    try:
        _configure(run, _parsed(folder / "config.yaml"))
        run.measures, run.rows = _table(folder / "metrics.csv")
    except UserError as error:
        run.note = f"left out: {error}"
        return run
    run.state = "unfinished"
    reached = int(run.rows[-1]["step"] or 0) if run.rows else 0
    try:
        run.result = _parsed(folder / "result.json")
    except UserError as error:
        short = reached < run.steps or not (folder / "result.json").exists()
        run.note = f"unfinished: step {reached} of {run.steps}" if short else f"unfinished: {error}"
        return run
    if run.result.get("step") != run.steps:  # left by a shorter run, which went on
        run.result, run.note = {}, f"unfinished: step {reached} of {run.steps}"
        return run
    run.state = "finished"
    missing = [name for name in run.measures if run.result.get(name) is None]
    infinite = [name for name in run.measures if not _finite(run.result.get(name))]
    if missing and len(missing) == len(run.measures):
        run.state, run.result, run.note = "left out", {}, "left out: its result.json has none of its measures"
    elif infinite:
        run.note = f"{', '.join(infinite)} is not finite"
    return run


def _configure(run: Run, config: dict[str, Any]) -> None:
    values = {
        key: value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
        for key, value in flat(config).items()
    }
    try:
        run.system, run.seed, run.steps = config["task"]["_target_"], config["run"]["seed"], config["run"]["steps"]
    except (KeyError, TypeError) as error:
        raise UserError(f"its config.yaml is none of this version's: it lacks {error}") from error
    environment = run.folder / "environment.json"
    device = _parsed(environment).get("device", "") if environment.exists() else ""
    values["device"] = str(device).partition(":")[0]
    drop = {*OWN} - {"device"}
    run.config = {name: value for name, value in placeless(values).items() if name not in drop}


def _parsed(path: Path) -> dict[str, Any]:
    """A file in YAML or JSON."""
    import yaml

    try:
        content = path.read_text()
        found = json.loads(content) if path.suffix == ".json" else yaml.safe_load(content)
    except FileNotFoundError as error:
        raise UserError(f"it has no {path.name}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"its {path.name} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(found, dict):
        raise UserError(f"its {path.name} is empty or no table of names and values")
    return found


def _table(path: Path) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The measures and the rows of metrics.csv."""
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = tuple(reader.fieldnames or ())
            rows = [{name: float(cell) if cell else None for name, cell in row.items()} for row in reader]
    except FileNotFoundError as error:
        raise UserError(f"it has no {path.name}") from error
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(f"its {path.name} cannot be read ({error})") from error
    if not {"step", "seconds"} <= set(names):
        raise UserError(f"its {path.name} has no step or no seconds")
    return tuple(name for name in names if name not in ("step", *TIMES)), rows


def _finite(value: float | None) -> bool:
    return value is None or abs(value) < float("inf")
