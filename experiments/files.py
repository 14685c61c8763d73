"""Files that are there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from discretegrad.analysis.files import write_whole

__all__ = ["write_json", "write_table", "write_whole"]


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record for people and programs."""
    write_whole(path, lambda file: file.write(json.dumps(record, indent=1).encode() + b"\n"))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV; what a row lacks, or has as None, stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, lambda file: file.write(text.getvalue().encode()))
