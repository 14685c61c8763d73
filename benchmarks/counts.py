"""How simple the library is, in numbers: `python -m benchmarks.counts [ROOT]` prints a table.

ROOT is a checkout, by default this one, so that one script counts a commit and one before it. What Python runs is
counted in a process of its own, whose `discretegrad` is that of ROOT.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONTRACT = (
    *("Estimator", "Composition", "Pathwise", "Draw", "Coupling", "Drawn", "Law", "Weights", "Signals"),
    *("ControlVariate", "Evaluation", "Path", "Latent", "Objective"),
)
"""The classes that who writes a slot or an estimator must know. One that a checkout has not counts nothing."""
CONTRACT_FILES = ("core.py", "draw.py", "coupling/base.py", "weights/base.py", "control_variate/base.py")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def count(root: Path) -> dict[str, object]:
    """All rows of the table: what is counted, and the number."""
    return of_contract(root) | of_code(root) | of_calls(root)


def of_contract(root: Path) -> dict[str, object]:
    """What the library's parts must know of each other."""
    package = root / "discretegrad"
    classes = {node.name: node for tree in trees(package) for node in tree.body if isinstance(node, ast.ClassDef)}
    known = {name: members(classes[name]) for name in CONTRACT if name in classes}
    fields = _annotated(classes["Draw"])
    written = [name for file in CONTRACT_FILES if (package / file).exists() for name in _names(package / file)]
    return {
        "fields of Draw": sum(not name.startswith("_") for name in fields),
        "caches of Draw": sum(name.startswith("_") for name in fields),
        "classes of the contract": len(known),
        "members of the contract": sum(map(len, known.values())),
        "Any in the contract's files": written.count("Any"),
    }


def members(node: ast.ClassDef) -> list[str]:
    """Public methods, properties and attributes that a class itself has, each once."""
    named = [child.name for child in node.body if isinstance(child, FUNCTIONS)]
    named += _annotated(node)
    assigned = [target for child in node.body if isinstance(child, ast.Assign) for target in child.targets]
    named += [target.id for target in assigned if isinstance(target, ast.Name)]
    return [name for name in dict.fromkeys(named) if not name.startswith("_")]


def of_code(root: Path) -> dict[str, object]:
    """Lines, functions, names, words."""
    core, readme = (root / "discretegrad/core.py").read_text(), (root / "README.md").read_text()
    everything = list(trees(root / "discretegrad"))
    lengths = sorted(length(node) for tree in everything for node in ast.walk(tree) if isinstance(node, FUNCTIONS))
    return {
        "lines of core.py": len(core.splitlines()),
        "lines of core.py, code alone": code_lines(core),
        "lines of a function, median": statistics.median(lengths),
        "lines of a function, 90 %": lengths[len(lengths) * 9 // 10],
        "lines of a function, most": lengths[-1],
        "public names": sum(len(public_names(tree)) for tree in everything),
        "lines of README": len(readme.splitlines()),
        "words of README": len(readme.split()),
        "lines of the engine, code alone": sum(
            code_lines(file.read_text()) for file in (root / "experiments/engine").rglob("*.py")
        ),
    }


def length(node: Any) -> int:
    """Lines of a function without its docstring and decorators."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)


def public_names(tree: ast.Module) -> list[str]:
    """Functions and classes of a module, and methods of its classes, without those that begin with an underscore."""
    found = []
    for node in tree.body:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_"):
            found.append(node.name)
            found += [
                f"{node.name}.{child.name}"
                for child in (node.body if isinstance(node, ast.ClassDef) else ())
                if isinstance(child, FUNCTIONS) and not child.name.startswith("_")
            ]
    return found


def code_lines(source: str) -> int:
    """Lines with code: neither blank, nor a comment, nor of a string that stands by itself, as docstrings do."""
    strings = [
        range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type not in NO_CODE]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return len(lines.difference(*strings))


def trees(folder: Path) -> Iterator[ast.Module]:
    """Of every module below a folder."""
    for file in sorted(folder.rglob("*.py")):
        yield ast.parse(file.read_text())


def _annotated(node: ast.ClassDef) -> list[str]:
    targets = [child.target for child in node.body if isinstance(child, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _names(file: Path) -> list[str]:
    return [node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)]


def of_calls(root: Path) -> dict[str, object]:
    """Calls of the package's Python functions, and how deep `analysis.compare` calls f; see `benchmarks/calls.py`."""
    return run_in(root, Path(__file__).with_name("calls.py"), str(root))


def run_in(root: Path, script: Path, *arguments: str) -> dict[str, Any]:
    """What a script prints as JSON in a new process, whose packages are those of a checkout."""
    command = [sys.executable, "-P", str(script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1], help="a checkout")
    root = parser.parse_args().root.resolve()
    if not (root / "discretegrad/core.py").exists():
        parser.error(f"{root} has no discretegrad/core.py; give the root of a checkout.")
    found = {name: f"{number:g}" if isinstance(number, float) else number for name, number in count(root).items()}
    rows = [f"| {name} | {number} |" for name, number in found.items()]
    print("| what | number |", "| --- | ---: |", *rows, sep="\n")


if __name__ == "__main__":
    main()
