"""The arrows of docs/architecture.md: who may import whom."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "fer_jax"
RANKS = [
    {"errors", "types", "labels", "config", "files", "runtime", "cli"},
    {"attacks", "models", "data", "faces"},
    {"evaluation"},
    {"training", "plots"},
    {"predict"},
    {"robustness"},
    {"video"},
]
ONLY_IN = {
    "cv2": {"faces"},
    "flax.linen": {"models"},
    "matplotlib": {"plots"},
    "tensorboardX": {"training"},
    "orbax": {"training"},
    "tensorflow_datasets": {"data"},
}
# optional at run time: never imported at a module's top
LATE = {"cv2", "tensorboardX", "tensorflow_datasets"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    if (here := room(path)) == "__init__":
        return
    rank = {name: i for i, names in enumerate(RANKS) for name in names}
    tree = ast.parse(path.read_text())
    for name in [name for node in ast.walk(tree) for name in imports(node)]:
        parts = name.split(".")
        if parts[0] == "fer_jax" and len(parts) > 1 and parts[1] in rank and parts[1] != here:
            assert rank[parts[1]] <= rank[here], f"{here} must not import {name}"
        for package, rooms in ONLY_IN.items():
            assert not under(name, package) or here in rooms, (
                f"{package} belongs to {rooms}, found in {here}"
            )
    if path.name == "builder.py":  # subclasses a class of TFDS, and is itself imported late
        return
    for name in [name for node in tree.body for name in imports(node)]:
        assert not any(under(name, package) for package in LATE), (
            f"{name} must be imported late in {here}"
        )


def test_every_room_has_a_rank():
    ranked = set().union(*RANKS) | {"__init__"}
    assert {room(path) for path in FILES} == ranked


def dotted(path: Path) -> str:
    """Return a file's name in an import: "fer_jax.models" is models/__init__.py."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def test_files_of_a_wing_do_not_import_in_a_circle():
    """Nor do any others; an import inside a function counts, too."""
    names = {dotted(path) for path in FILES}
    graph = {}
    for path in FILES:
        wanted = [name for node in ast.walk(ast.parse(path.read_text())) for name in imports(node)]
        files = {name if name in names else name.rpartition(".")[0] for name in wanted}
        graph[dotted(path)] = files & names
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


def test_the_page_names_every_file(root):
    rooms = (root / "docs" / "architecture.md").read_text().split("```")[1]
    named = set(re.findall(r"\w+", rooms))
    assert not {path.stem for path in FILES} - named
