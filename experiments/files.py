"""Files that are there whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from discretegrad.files import write_table, write_whole

__all__ = ["as_json", "write_json", "write_table", "write_whole"]


def as_json(record: dict[str, Any]) -> bytes:
    """A record for people and programs."""
    return json.dumps(record, indent=1).encode() + b"\n"


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record for people and programs."""
    write_whole(path, lambda file: file.write(as_json(record)))
