"""The tables in README, guide, CONTRIBUTING and discretegrad/ops/README.md leave nothing out and name what there is."""

import inspect
import re
from pathlib import Path

import pytest

import discretegrad as dg

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
UNLISTED = ("experiments", "systems")
"""Folders of tests that CONTRIBUTING.md says enough of as a whole."""
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
ESTIMATORS = (ROOT / "docs" / "guide" / "estimators.md").read_text().split("## What they cost")[0]
CLASSES = {
    name: kind
    for name, kind in vars(dg.estimators).items()
    if isinstance(kind, type) and issubclass(kind, dg.Estimator)
}
ROWS = {
    match[1]: (match[2].split(", "), [cell.strip() for cell in match[3].split("|")])
    for match in re.finditer(r"^\| `(\w+)\(([^)]*)\)` \|(.*)\|$", ESTIMATORS, re.MULTILINE)
}


def test_every_estimator_has_a_row_in_the_guide_and_a_family_in_the_readme():
    assert set(ROWS) == set(CLASSES)
    families = README[README.index("| family |") : README.index("[All of them]")]
    assert sorted(re.findall(r"`(\w+)`", families)) == sorted(CLASSES)


def test_the_readme_is_a_page():
    assert len(README.splitlines()) <= 120 and len(README.split()) <= 900


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_guide_s_rows_are_true(name):
    """Arguments that exist; bias, gradient of f and latents as declared."""
    arguments, (_, unbiased, gradient_of_f, latents, _) = ROWS[name]
    kind = CLASSES[name]
    parameters = inspect.signature(kind).parameters
    assert set(arguments) - {"..."} <= set(parameters)
    if name in ("NVIL", "RELAX"):  # need a network, and say more than yes or no
        return
    estimator = kind()
    assert unbiased.startswith("no") or estimator.unbiased
    assert not unbiased.startswith("no") or not estimator.unbiased
    assert gradient_of_f.startswith("needed") == estimator.needs_grad_f
    assert latents == ("both" if "latent" in parameters else estimator.latent.replace("b", "B"))


def test_every_operation_and_test_file_is_listed():
    operations = {path.name for path in (ROOT / "discretegrad" / "ops").iterdir() if (path / "__init__.py").exists()}
    listed = re.findall(r"^\| `(\w+)/` \|", (ROOT / "discretegrad" / "ops" / "README.md").read_text(), re.MULTILINE)
    assert listed == sorted(operations)
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    files = {path.relative_to(ROOT) for path in (ROOT / "tests").glob("*/test_*.py")}
    listed = re.findall(r"`(?:tests/\w+/)?(test_\w+\.py)`", contributing)
    assert {str(path) for path in files if path.parts[1] not in UNLISTED and path.name not in listed} == set()
    named = {Path(name) for name in re.findall(r"`(tests/\w+/test_\w+\.py)`", contributing)}
    assert named <= files, "renamed, or moved"


def test_links_lead_somewhere():
    pages = ("README.md", "CONTRIBUTING.md", "docs/ports.md", "discretegrad/ops/README.md")
    for path in (*(ROOT / page for page in pages), *GUIDE):
        for target, section in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", path.read_text()):
            if "://" in target:
                continue
            there = path.parent / target if target else path
            assert there.exists(), (path.name, target)
            heads = (
                [re.sub(r"[^\w -]", "", head).replace(" ", "-").lower() for head in headings(there)] if section else []
            )
            assert not section or section in heads, (path.name, target, section)


def headings(path):
    return re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
