"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import statistics
import sys
from pathlib import Path

import pytest

from tests.house import (
    PACKAGES,
    ROOT,
    attribute_docs,
    circles,
    counts,
    floors,
    imports,
    room_of,
    rooms,
    sources,
    tree_of,
)

ORDER = ("attn_core", "verification", "properties", "tests", "benchmarks")
LONGEST_FUNCTION, LONGEST_FILE, MEDIAN_FILE, MEDIAN_FUNCTION = 60, 300, 100, 10
MOST_FLOORS = 12
GROUND = {"problem", "tensors", "oracle", "backends", "records"}
# What a room may import of its own package. Whoever opens a door opens it here, and says why in ARCHITECTURE.md.
DOORS: dict[str, dict[str, set[str]]] = {
    "verification": {
        "problem": set(),
        "tensors": {"problem"},
        "oracle": {"problem", "tensors"},
        "backends": {"problem", "tensors", "oracle"},
        "records": {"problem", "oracle"},
        "adapter": {"problem", "tensors", "oracle", "backends"},
        "adapters": {"adapter"},
        "faults": {"problem", "tensors", "oracle", "backends"},
        "script": {"problem", "tensors", "oracle", "backends", "adapter"},
        "reporting": {"problem", "tensors", "oracle", "records"},
        "catalogue": {"problem", "oracle", "backends", "faults"},
        "isolation": {"problem", "tensors", "oracle", "backends", "catalogue"},
    },
    "properties": {
        "generate": set(),
        "laws": set(),
        "shrink": {"generate"},
        "run": {"generate", "laws", "shrink"},
        "show": {"laws", "run"},
        "check": {"generate", "laws", "run"},
        "test_laws": {"check", "run"},
        "commands": {"generate", "laws", "shrink", "run", "show"},
        "cli": {"commands"},
    },
}
# Single files behind a door of their own: what they may import of a room that theirs may enter.
NARROW = {
    ("verification/backends/protocol.py", "verification.oracle"): {"verification.oracle.precision"},
    ("verification/backends/contract.py", "verification.oracle"): set[str](),
    ("verification/catalogue.py", "verification.oracle"): {"verification.oracle.precision"},
    ("verification/oracle/judge.py", "verification.backends"): set[str](),
}


def imported_packages(path: Path) -> set[str]:
    """Return the top-level names that a file imports."""
    return {arrow.target.split(".")[0] for arrow in imports(path)}


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_left(package: str) -> None:
    """Tests may import benchmarks, whose programs they test; nothing imports tests but tests."""
    to_the_right = set(ORDER[ORDER.index(package) + 1 :]) - ({"benchmarks"} if package == "tests" else set())
    to_the_right |= {"tests"} - {package}
    for path in sources(packages=(package,)):
        assert not imported_packages(path) & to_the_right, path


@pytest.mark.parametrize("package", DOORS)
def test_rooms_import_through_their_doors(package: str) -> None:
    """And every room has some."""
    for path in sources(packages=(package,)):
        room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)).split(".")[1]
        if room == "__init__":
            continue
        entered = {
            room_of(arrow.target).split(".")[1] for arrow in imports(path) if arrow.target.startswith(f"{package}.")
        }
        assert entered - {room, "__init__"} <= DOORS[package][room], path


@pytest.mark.parametrize(("file", "room"), NARROW)
def test_narrow_doors(file: str, room: str) -> None:
    """A protocol needs no reference, and a judge no backend."""
    entered = {arrow.target.rpartition(".")[0] for arrow in imports(ROOT / file) if arrow.target.startswith(f"{room}.")}
    assert entered <= NARROW[file, room]


def test_the_rooms_make_no_circle() -> None:
    """And stand on few floors; ``python -m tests.house`` prints them."""
    graph = rooms()
    assert circles(graph) == []
    assert max(floors(graph).values()) <= MOST_FLOORS, counts()


def test_only_backends_and_faults_know_the_layer() -> None:
    """The reference shares nothing with it."""
    for path in sources(packages=("verification", "properties")):
        if "attn_core" in imported_packages(path):
            assert {"backends", "faults"} & set(path.parts), path


def test_the_layer_needs_torch_and_jaxtyping_alone() -> None:
    allowed = {"torch", "jaxtyping", "attn_core"} | sys.stdlib_module_names
    for path in sources(packages=("attn_core",)):
        assert imported_packages(path) <= allowed, path


def test_hypothesis_lives_in_properties() -> None:
    for path in sources(packages=("attn_core", "verification")):
        assert "hypothesis" not in imported_packages(path), path


def functions(paths: list[Path]) -> list[tuple[Path, str, int]]:
    """Return every function with its length in lines."""
    return [
        (path, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for path in paths
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_files_and_functions_are_short() -> None:
    paths = sources()
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    assert statistics.median(lengths.values()) < MEDIAN_FILE
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}
    found = functions(paths)
    assert statistics.median(length for *_, length in found) < MEDIAN_FUNCTION
    assert [entry for entry in found if entry[2] > LONGEST_FUNCTION] == []


# A docstring that begins with one of these has no verb, and is read twice.
ODD_BEGINNINGS = {"What", "Of", "As", "Who", "Whose", "How", "Where", "That", "Whether", "Which", "Why", "The same"}


def test_docstrings_begin_with_what_is_done() -> None:
    """Of every module, class and function."""
    odd = []
    for path in sources():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "").split(" ")[0].rstrip(",.:;")
                if first in ODD_BEGINNINGS:
                    odd.append((str(path.relative_to(ROOT)), getattr(node, "lineno", 1), first))
    assert odd == []


def dataclasses_of(path: Path) -> list[type]:
    """Return those that a file defines; a file that decorates none is not imported."""
    if "@dataclass" not in path.read_text():
        return []
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    own = (x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__)
    return [x for x in own if dataclasses.is_dataclass(x)]


def test_each_of_many_fields_has_a_line() -> None:
    """Under it, where a dataclass has more than five."""
    bare = []
    for path in sources(packages=("verification", "properties")):
        for cls in dataclasses_of(path):
            names = [field.name for field in dataclasses.fields(cls)]
            if len(names) > 5 and cls.__name__ not in ("ByName", "Inputs", "Tensors"):  # which `table.TENSORS` tells of
                bare += [f"{cls.__qualname__}.{name}" for name in names if name not in attribute_docs(cls)]
    assert bare == []


def test_one_text_says_who_the_packages_are() -> None:
    assert ORDER[:3] == PACKAGES
