"""`verification.adapter` hands on all that an author needs: no adapter and no page imports another module of ours."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent

import pytest

from verification import adapter

ROOT = Path(__file__).parents[2]
ADAPTERS = ROOT / "verification" / "adapters"
PAGES = (ROOT / "docs" / "tutorial.md", ROOT / "docs" / "pytest.md")
OURS = ("attn_core", "verification", "properties", "tests", "benchmarks")
# Beside it a test has the function that asks, and an adapter what lies in its own folder.
ALLOWED = {"verification.adapter": set(adapter.__all__), "properties": {"check_kernel"}}


def blocks(page: Path) -> list[str]:
    return [dedent(text) for text in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)]


SHOWN = {f"{page.name}, block {i}": text for page in PAGES for i, text in enumerate(blocks(page))}
FILES = {path.name: path.read_text() for folder in (ADAPTERS, ROOT / "docs") for path in sorted(folder.rglob("*.py"))}


def needed(text: str) -> list[tuple[str, str]]:
    """Return the modules of ours that a text imports, and the names from each."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [(str(node.module), alias.name) for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] in OURS]


@pytest.mark.parametrize("name", SHOWN | FILES)
def test_an_author_needs_no_other(name: str) -> None:
    """Our own adapters, the file of the tutorial and the blocks of the pages keep to it."""
    for module, imported in needed((SHOWN | FILES)[name]):
        beside = name in FILES and module.startswith("verification.adapters.")
        assert beside or imported in ALLOWED.get(module, ()), (module, imported)


def test_the_pages_show_something() -> None:
    """The test above has something to look at."""
    assert len(SHOWN) >= 5
    assert {"my_kernel.py", "vllm_cpu.py", "sdpa.py"} <= FILES.keys()
    assert all(needed(FILES[name]) for name in ("my_kernel.py", "vllm_cpu.py", "sdpa.py"))


# What a class of an author is made of, and what its methods are given.
OWED = ("DenseAdapter", "PagedAdapter", "BatchedAdapter", "Batch", "promising", "Contract", "Precision", "INPUT")
OWED_TOO = ("Problem", "Tensors", "Scoring", "NotPortable", "FORMATS", "FEATURES", "slopes", "FLASH_ON_CPU")


def test_what_it_lists_is_there() -> None:
    """Each name exists, and is listed once."""
    assert len(adapter.__all__) == len(set(adapter.__all__))
    assert all(hasattr(adapter, name) for name in adapter.__all__)
    assert {*OWED, *OWED_TOO} <= set(adapter.__all__)
