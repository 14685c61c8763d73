"""Bring docs/findings.md up to date with finished reports.

    python -m experiments.studies.variance.findings runs/variance/*

The page is prose by hand, with blocks between `<!-- report NAME: SECTION; SECTION -->` and `<!-- end -->`, which are
replaced by those sections of the report's own page; figures that it shows are copied from the report's folder.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from PIL import Image

from experiments.errors import UserError
from experiments.studies.page import DOCS, put

PAGE = DOCS / "findings.md"
BLOCK = re.compile(r"<!-- report (?P<name>[\w-]+): (?P<sections>.*?) -->\n.*?<!-- end -->", re.DOTALL)


def section(text: str, title: str) -> str:
    """What is below a heading of a page, up to the next one.

    Raises:
        UserError: where there is no such heading.
    """
    found = re.search(rf"^#+ {re.escape(title)}$\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise UserError(f"the report has no section {title!r}.")
    return found[1].strip()


def update(text: str, folders: dict[str, Path]) -> str:
    """The page with the blocks of these reports replaced; others stay as they are."""

    def fresh(block: re.Match[str]) -> str:
        folder = folders.get(block["name"])
        if folder is None:
            return block[0]
        report = (folder / "report.md").read_text()
        parts = [section(report, title.strip()) for title in block["sections"].split(";")]
        first = f"<!-- report {block['name']}: {block['sections']} -->"
        return "\n\n".join([first, *parts, "<!-- end -->"])

    return BLOCK.sub(fresh, text)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("python -m experiments.studies.variance.findings", description="Write the page.")
    parser.add_argument("folders", type=Path, nargs="+", help="of finished reports, each named as its report")
    options = parser.parse_args()
    folders = {folder.name: folder for folder in options.folders if (folder / "report.md").exists()}
    try:
        text = update(PAGE.read_text(), folders)
    except UserError as error:
        parser.error(str(error))
    put(PAGE, text)
    for name in re.findall(r"\]\(figures/([\w.-]+)\)", text):
        for folder in folders.values():
            if (folder / name).exists():
                (PAGE.parent / "figures").mkdir(exist_ok=True)
                # 64 colours are enough for a figure, in a third of the bytes.
                small = Image.open(folder / name).convert("RGB").quantize(64)
                small.save(PAGE.parent / "figures" / name, optimize=True)


if __name__ == "__main__":
    main()
