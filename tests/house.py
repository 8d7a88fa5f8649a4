"""The house as a graph of imports: ``python -m tests.house [ROOT]`` prints its rooms, floors and arrows.

A room is a loose file or a sub-folder of `verification` and of `properties`; `attn_core` is one. A room's floor is the
one above the highest that it imports.
"""

from __future__ import annotations

import ast
import inspect
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGES = ("attn_core", "verification", "properties")


class Arrow(NamedTuple):
    """One file imports another."""

    path: Path
    target: str
    """Name of a module or of a name in it."""


def sources(root: Path = ROOT, packages: tuple[str, ...] = PACKAGES) -> list[Path]:
    """Return every source file of the packages. What lies in a folder of data is none."""
    found = [path for package in packages for path in (root / package).rglob("*.py")]
    return sorted(path for path in found if all((folder / "__init__.py").exists() for folder in _folders(path, root)))


def _folders(path: Path, root: Path) -> Iterator[Path]:
    folder = path.parent
    while folder != root:
        yield folder
        folder = folder.parent


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> list[Arrow]:
    """Return all that a file imports, wherever in it, by full names: ``from a.b import c`` is ``a.b.c``."""
    found = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found += [Arrow(path, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [Arrow(path, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def room_of(name: str, root: Path = ROOT) -> str:
    """Return the room of a module, by its full name or that of a name in it: ``package.room``."""
    package, _, rest = name.partition(".")
    if package == "attn_core":
        return package
    first = rest.split(".")[0]
    is_room = (root / package / first).is_dir() or (root / package / f"{first}.py").exists()
    return f"{package}.{first}" if first and is_room else f"{package}.__init__"


def rooms(root: Path = ROOT) -> dict[str, set[str]]:
    """Return for each room those that it imports."""
    found: dict[str, set[str]] = {}
    for path in sources(root):
        room = room_of(".".join(path.relative_to(root).with_suffix("").parts), root)
        mine = found.setdefault(room, set())
        for arrow in imports(path):
            if arrow.target.split(".")[0] in PACKAGES:
                mine.add(room_of(arrow.target, root))
    return {room: targets - {room} for room, targets in found.items()}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Return one circle of rooms that import each other; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room: one above the highest that it imports. Raises CycleError where there is none."""
    found: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        found[room] = 1 + max((found[other] for other in graph.get(room, ())), default=0)
    return found


@cache
def attribute_docs(cls: type) -> dict[str, str]:
    """Return the string literal under each field, of the class and its bases."""
    found: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__ != "builtins" and base is not object]):
        try:
            node = ast.parse(dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):
            continue
        assert isinstance(node, ast.ClassDef)
        for field, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                value = below.value if isinstance(below, ast.Expr) else None
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    found[field.target.id] = " ".join(value.value.split())
    return found


def counts(root: Path = ROOT) -> str:
    """Return the figures of a tree in a few lines."""
    graph, paths = rooms(root), sources(root)
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in paths]
    functions = [
        (node.end_lineno or 0) - node.lineno + 1
        for path in paths
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    circle = circles(graph)
    height = f"circle {' -> '.join(circle)}" if circle else f"{max(floors(graph).values())} floors"
    arrows = sum(map(len, graph.values()))
    return (
        f"{len(graph)} rooms, {height}, {arrows} arrows between rooms\n"
        f"{len(paths)} files: median {statistics.median(lengths):g} lines, longest {max(lengths)}\n"
        f"{len(functions)} functions: median {statistics.median(functions):g} lines, longest {max(functions)}"
    )


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    graph = rooms(root)
    if not circles(graph):
        height = floors(graph)
        for room in sorted(graph, key=lambda name: (height[name], name)):
            sys.stdout.write(f"{height[room]:3}  {room}  <-  {', '.join(sorted(graph[room])) or '-'}\n")
    sys.stdout.write(counts(root) + "\n")


if __name__ == "__main__":
    main()
