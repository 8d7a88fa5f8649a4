"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import statistics
import sys
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("attn_core", "verification", "properties", "tests")
LONGEST_FUNCTION, MEDIAN_FILE = 90, 150


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_imports_point_left(folder: str) -> None:
    to_the_right = set(FOLDERS[FOLDERS.index(folder) + 1 :])
    for path in modules(folder):
        assert not imported(path) & to_the_right, path


def test_the_layer_needs_torch_and_jaxtyping_alone() -> None:
    allowed = {"torch", "jaxtyping", "attn_core"} | sys.stdlib_module_names
    for path in modules("attn_core"):
        assert imported(path) <= allowed, path


def test_hypothesis_lives_in_properties() -> None:
    for path in chain(modules("attn_core"), modules("verification")):
        assert "hypothesis" not in imported(path), path


def test_the_reference_shares_nothing_with_the_layer() -> None:
    for path in modules("verification"):
        if not {"backends", "faults"} & set(path.parts):
            assert "attn_core" not in imported(path), path


def test_files_and_functions_are_short() -> None:
    paths = list(chain.from_iterable(map(modules, FOLDERS)))
    assert statistics.median(len(path.read_text().splitlines()) for path in paths) < MEDIAN_FILE
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, (path, node.name)
