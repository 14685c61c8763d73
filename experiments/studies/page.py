"""Pages of measured numbers: Markdown from a template, the same as one HTML file, tables as CSV."""

from __future__ import annotations

import base64
import csv
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import discretegrad as dg
from experiments.collect.groups import Mean, mean
from experiments.files import write_table, write_whole

if TYPE_CHECKING:  # loaded when something is drawn
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
DPI = 200


def write(
    stem: Path,
    text: str,
    tables: Mapping[str, tuple[Sequence[str], Rows]],
    figures: Mapping[str, Figure] | None = None,
) -> None:
    """Write a page and what goes with it, each file whole.

    Args:
        stem: the page's path without its suffix, `.md`; all others lie beside it.
        text: the page; see `render`.
        tables: columns and rows, by the name of their CSV file.
        figures: by the name of their PNG file.
    """
    for name, figure in (figures or {}).items():
        write_whole(stem.with_name(f"{name}.png"), partial(figure.savefig, format="png", dpi=DPI))
    for name, (columns, rows) in tables.items():
        write_table(stem.with_name(f"{name}.csv"), columns, rows)
    put(stem.with_name(f"{stem.name}.md"), text)


def write_html(path: Path, title: str, text: str) -> Path:
    """A page as one file, with the figures in its folder that it shows; the path."""
    import markdown

    for picture in path.parent.glob("*.png"):
        if f"]({picture.name})" in text:
            content = base64.b64encode(picture.read_bytes()).decode()
            text = text.replace(f"]({picture.name})", f"](data:image/png;base64,{content})")
    body = markdown.markdown(text, extensions=["tables", "fenced_code"])
    put(path, render(HERE / "page.html.j2", title=title, body=body))
    return path


def put(path: Path, text: str) -> None:
    """Write a file, whole."""
    write_whole(path, lambda file: file.write(text.encode()))


def render(template: Path, **values: Any) -> str:
    """A template of Jinja, with the filters `number` and `code`, and values for all that it names."""
    import jinja2

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"number": number, "code": code}
    return environment.from_string(template.read_text()).render(**values)


def number(value: float | None, error: float | None = None) -> str:
    """Three digits, and the standard error if there is one."""
    if value is None or value != value:
        return "-"
    text = "∞" if value == float("inf") else f"{value:.3g}"
    return text if error is None or error != error or error == 0 else f"{text} ± {error:.1g}"


def average(values: Iterable[float]) -> str:
    """The mean, and its standard error if there is one; a dash where there is nothing."""
    found = [*values]
    return number(*mean(found)[:2]) if found else number(None)


def over(rows: Rows, name: str) -> str:
    """The average of a column over those rows that have it."""
    return average(float(row[name]) for row in rows if row[name])


def with_error(value: Mean, scale: float = 100.0, decimals: int = 1) -> str:
    """A mean, in hundredths or as `scale` has it, and its standard error if there is one."""
    error = f" ± {scale * value.error:.{decimals}f}" if value.error else ""
    return f"{scale * value.mean:.{decimals}f}{error}"


def digits(value: float | None) -> str:
    """Three digits for a file that is compared with later ones: 0 where there is only rounding, nothing for None."""
    if value is None:
        return ""
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"


def code(text: object) -> str:
    """In a table: a bar would end the cell."""
    return f"`{text}`".replace("|", "\\|")


def columns(rows: Rows) -> tuple[str, ...]:
    """All that any of them has."""
    return tuple(dict.fromkeys(name for row in rows for name in row))


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    import numpy

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    found = {
        "discretegrad": dg.__version__,
        "commit": _commit(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": device,
        "threads": str(torch.get_num_threads()),
    }
    return {name: value for name, value in found.items() if value}


def _commit() -> str:
    """Of the checkout, if this is one; a plus where something differs from it."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
