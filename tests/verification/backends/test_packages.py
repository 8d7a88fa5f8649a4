"""The version under test is named, and nothing is imported to find it."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from verification.backends.packages import installed_packages, is_installed


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_what_a_kernel_stands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in the file it is imported, and by way of files beside it; not torch, which every report names."""
    write(
        tmp_path,
        some_kernel="import torch\nimport some_helper\nraise SystemExit('imported')",
        some_helper="def late():\n    from rich.text import Text\n    import os.path, json",
        some_package____init__="",
        some_package__deep="from .near import x\nfrom . import far",
        some_package__near="import jinja2",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    assert installed_packages("some_kernel") == {"rich": version("rich")}
    assert installed_packages("some_package.deep") == {"Jinja2": version("Jinja2")} or installed_packages(
        "some_package.deep"
    ) == {"jinja2": version("jinja2")}
    assert not {name for name in set(sys.modules) - before if name.startswith("some_")}


def test_what_cannot_be_read_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such module, and one that is no Python."""
    write(tmp_path, odd_kernel="this is no Python")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert installed_packages("odd_kernel") == installed_packages("no_such_module.at_all") == {}


def test_what_others_have() -> None:
    """Python's own and installed packages, and no file of somebody's."""
    assert is_installed("json")
    assert is_installed("rich")
    assert not is_installed("some_kernel")
