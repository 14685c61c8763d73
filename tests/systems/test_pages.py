"""Pages under docs/ whose rows are committed beside them say what those rows say."""

import shutil
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {"beyond_reinmax": "findings.md", "codes": "codes.md", "dual_encoders": "dual_encoders.md"}
"""By the study, whose package has a `page` that writes it."""


@pytest.mark.parametrize("study", [name for name in PAGES if (DOCS / f"{name}.csv").exists()])
def test_a_page_is_made_of_the_rows_beside_it(study, tmp_path):
    for path in (*DOCS.glob("*.csv"), *DOCS.glob("*.md")):
        shutil.copy(path, tmp_path)
    shutil.copytree(DOCS / "figures", tmp_path / "figures")
    import_module(f"experiments.studies.{study}.page").write(tmp_path)
    assert (tmp_path / PAGES[study]).read_text() == (DOCS / PAGES[study]).read_text()
