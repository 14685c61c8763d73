"""How modules hang together: no circle of imports, and one meaning of a name of the measuring room."""

import ast
import importlib
import inspect
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONE_CLASS = ("Problem", "Source", "Stage", "Measured", "Estimate")


def modules(root, package):
    """The file of every module, by name."""
    names = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


def imported(tree):
    """What a module imports when it is imported itself: not within functions, nor for the sake of types alone."""
    waiting, names = list(tree.body), []
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not for_types(node):
            waiting += ast.iter_child_nodes(node)
    return names


def for_types(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def packages(name):
    """Those that a module is in, which are imported before it."""
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts))}


def order(root, package):
    """An order in which the modules can be imported.

    Raises:
        CycleError: where there is none.
    """
    files = modules(root, package)
    needs = defaultdict(set)
    for name, file in files.items():
        for other in imported(ast.parse(file.read_text())):
            # A package that a module is in has begun to be imported already.
            needs[name] |= ({other, *packages(other)} & files.keys()) - packages(name) - {name}
    return list(TopologicalSorter(needs).static_order())


@pytest.mark.parametrize("package", ["discretegrad", "experiments"])
def test_no_module_needs_itself(package):
    assert len(order(ROOT, package)) > 10


@pytest.mark.parametrize(
    ("first", "second", "circle"),
    [
        ("from package import second", "import package.first", True),
        ("from package.second import x", "from package.inner.third import y", True),  # whose package needs the first
        ("from package import second", "def f():\n    import package.first", False),
        ("if True:\n    import package.second", "class A:\n    import package.first", True),
        ("import package.second", "if TYPE_CHECKING:\n    import package.first", False),
    ],
)
def test_a_circle_is_seen(tmp_path, first, second, circle):
    inner = tmp_path / "package/inner"
    inner.mkdir(parents=True)
    (tmp_path / "package/__init__.py").write_text("import package.first")
    (inner / "__init__.py").write_text("import package.first" if "inner" in second else "")
    (inner / "third.py").write_text("y = 1")
    (tmp_path / "package/first.py").write_text(first)
    (tmp_path / "package/second.py").write_text(second)
    if circle:
        with pytest.raises(CycleError):
            order(tmp_path, "package")
    else:
        assert order(tmp_path, "package").index("package.second") < order(tmp_path, "package").index("package.first")


def test_a_name_of_the_measuring_room_is_one_class():
    """In the library, the experiments and the benchmarks together."""
    places = defaultdict(list)
    for package in ("discretegrad", "experiments", "benchmarks"):
        for name, file in modules(ROOT, package).items():
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and node.name in ONE_CLASS:
                    places[node.name].append(name)
    assert {name: len(found) for name, found in places.items()} == dict.fromkeys(ONE_CLASS, 1), dict(places)


def classes(package):
    """Of all modules of a package that can be imported here."""
    for name in modules(ROOT, package):
        if not name.endswith(".triton") and not name.endswith(".__main__"):
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError as error:  # of an extra that is not installed
                assert error.name and not error.name.startswith(("discretegrad", "experiments"))
                continue
            yield from (own for own in vars(module).values() if isinstance(own, type) and own.__module__ == name)


@pytest.mark.parametrize("package", ["discretegrad", "experiments"])
def test_a_method_says_what_it_does_or_overrides_one_that_says_it(package):
    silent, seen = [], 0
    for own in classes(package):
        for name, member in vars(own).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            seen += 1
            if not any(getattr(vars(base).get(name), "__doc__", None) for base in own.__mro__):
                silent.append(f"{own.__module__}.{own.__qualname__}.{name}")
    assert seen > 100
    assert not silent
