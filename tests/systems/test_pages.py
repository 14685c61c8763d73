"""Pages under docs/ whose rows are committed beside them say what those rows say."""

import shutil
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "beyond_reinmax": ("beyond_reinmax.csv", "findings.md"),
    "cedet": ("cedet.csv", "cedet.md"),
    "codes": ("codes.csv", "codes.md"),
    "crobim": ("crobim.csv", "crobim.md"),
    "dual_encoders": ("dual_encoders.csv", "dual_encoders.md"),
    "gemini": ("gemini.csv", "gemini.md"),
    "gemma_encoder": ("gemma_encoder.csv", "gemma_encoder.md"),
    "knowledge_prompts": ("knowledge_prompts.csv", "knowledge_prompts.md"),
    "skill": ("skill_paths.csv", "skill.md"),
}
"""By the study, whose package has a `page` that writes it: rows, without which there is no page yet, and the page."""


@pytest.mark.parametrize("study", [name for name, (rows, _) in PAGES.items() if (DOCS / rows).exists()])
def test_a_page_is_made_of_the_rows_beside_it(study, tmp_path):
    for path in (*DOCS.glob("*.csv"), *DOCS.glob("*.md")):
        shutil.copy(path, tmp_path)
    shutil.copytree(DOCS / "figures", tmp_path / "figures")
    import_module(f"experiments.studies.{study}.page").write(tmp_path)
    page = PAGES[study][1]
    assert (tmp_path / page).read_text() == (DOCS / page).read_text()
