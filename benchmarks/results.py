"""From pytest-benchmark's JSON to the committed CSV: `python -m benchmarks.results runs/bench.json`.

A suite has a file for each kind of device, `benchmarks/results/<suite>-<cpu or cuda>.csv`, which a run that measured
the suite there writes anew, whole or not at all; the files of what it did not measure stay.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from discretegrad.files import write_table

PROVENANCE = ("date", "git_sha", "torch", "device", "threads")
SIZES = ("C", "V", "S", "B")
COLUMNS = (*PROVENANCE, "suite", "case", "implementation", *SIZES, "metric", "value", "unit", "error", "rounds")
FOLDER = Path(__file__).parent / "results"


def provenance() -> dict[str, Any]:
    """When, of what and with what a run measures; no name of a machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "git_sha": revision(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def revision() -> str:
    """The commit, with "-dirty" behind it where files besides the results differ from it."""
    here = FOLDER.parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(("git", *arguments), cwd=here, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", f":!{FOLDER.relative_to(here)}")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(kind: str) -> str:
    """The model of a processor, "cpu" or "cuda", and how many cores of it there are."""
    if kind == "cuda":
        return torch.cuda.get_device_name()
    model = "unknown model"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return f"cpu ({model}), {os.cpu_count()} cores"


def from_json(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows in pytest-benchmark's record, in which `conftest.py` left the provenance.

    Raises:
        ValueError: for a record that holds none.
    """
    if "provenance" not in record:
        raise ValueError("this JSON has no provenance: it was not written by a run of benchmarks/.")
    rows = [row for one in record["benchmarks"] for row in one["extra_info"].get("rows", ())]
    if not rows:
        raise ValueError("this JSON has no results: nothing ran, or with --benchmark-disable.")
    return [{**record["provenance"], **row} for row in rows]


def write(rows: Iterable[Mapping[str, Any]], folder: Path = FOLDER) -> list[Path]:
    """Write every suite and kind of device that `rows` hold; the names of the files written.

    Raises:
        ValueError: for a row without a suite, or with a column that is none; then nothing is written.
    """
    files: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, str] = {}
    for row in rows:
        kind = row.get("device", "cpu")
        unknown = [name for name in row if name not in COLUMNS]
        if unknown or "suite" not in row:
            raise ValueError(f"a row of results needs a suite and has no columns {unknown}: {dict(row)}.")
        names[kind] = names.get(kind) or device_name(kind)
        own = {**row, "device": names[kind]}
        for column in ("value", "error"):
            if isinstance(own.get(column), float):
                own[column] = f"{own[column]:.4g}"
        files.setdefault(f"{row['suite']}-{kind}.csv", []).append(own)
    folder.mkdir(parents=True, exist_ok=True)
    for name, own_rows in files.items():
        write_table(folder / name, COLUMNS, own_rows)
    return [folder / name for name in files]


def read(suite: str, kind: str = "cpu", folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The rows of a suite, numbers as numbers."""
    with open(folder / f"{suite}-{kind}.csv", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        for column in (*SIZES, "rounds", "threads"):
            row[column] = int(row[column]) if row[column] else None
        for column in ("value", "error"):
            row[column] = float(row[column]) if row[column] else None
    return rows


def main() -> None:
    """See the module."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.results FILE.json")
    try:
        rows = from_json(json.loads(Path(sys.argv[1]).read_text()))
    except (OSError, ValueError) as error:
        sys.exit(f"benchmarks.results: {error}")
    for path in write(rows):
        print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    main()
