"""Names of a kernel's helpers that a script has too, and files that must travel along with it."""

from __future__ import annotations

import ast
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import verification
from verification.backends.snippet import ScriptError
from verification.script.extract import extract_source
from verification.script.names import find_free, is_taken, nothing_taken, rename

SOURCE = """\
def outer(x, call=call):
    def inner(exact):
        return exact + call
    wrong = 1
    both = [exact for exact in (x, wrong)]
    return inner(lambda main: main + same), exact, both, f"é{same}"


class Kept(same):
    exact = 2

    def method(self, q=exact):
        return exact + self.exact
"""
WANTED = """\
def outer(x, call=call):
    def inner(exact):
        return exact + call
    wrong = 1
    both = [exact for exact in (x, wrong)]
    return inner(lambda main: main + same_2), exact_2, both, f"é{same_2}"


class Kept_2(same_2):
    exact = 2

    def method(self, q=exact):
        return exact_2 + self.exact
"""


def test_what_is_hidden_keeps_its_name() -> None:
    """Parameters, local variables, attributes of a class in its body and not in its methods."""
    names = {name: f"{name}_2" for name in ("exact", "same", "wrong", "main", "Kept")}
    lines = SOURCE.splitlines()
    for node in ast.parse(SOURCE).body:
        lines = rename(lines, node, names) if isinstance(node, ast.FunctionDef) else lines
        lines = rename(lines, node, names) if isinstance(node, ast.ClassDef) else lines
    assert "\n".join(lines) + "\n" == WANTED


def test_names_of_a_script() -> None:
    """Those that it defines, tensors, and imports unless they are the same."""
    for name in ("call", "exact", "q", "v_cache_2_after", "max_seqlen_q_1", "kv_cache", "np"):
        assert is_taken(name, ""), name
    assert is_taken("np", "import jax.numpy as np")
    assert not is_taken("np", "import numpy as np")
    assert not is_taken("qkv_of", "")
    assert find_free("call", (), is_taken, "") == "kernel_call"
    assert find_free("q", (), is_taken, "") == "kernel_q"
    assert find_free("x", ("x", "kernel_x"), nothing_taken, "") == "kernel_x_2"


def test_every_name_that_a_template_defines_is_known() -> None:
    """Functions and constants at the top of a script."""
    found = set()
    for path in (Path(verification.__file__).parent / "script").glob("*.jinja"):
        for function, constants in re.findall(r"^(?:def (\w+)|([A-Z_]+(?:, [A-Z_]+)*) =)", path.read_text(), re.M):
            found |= {function} if function else set(constants.split(", "))
    assert {"exact", "attend", "main", "ALLOWED", "OTHER_ROWS"} <= found
    assert [name for name in found if not is_taken(name, "")] == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def module_of(folder: Path, **texts: str) -> ModuleType:
    """The first of these files, imported."""
    for name, text in texts.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (folder / "some_package" / "__init__.py").touch() if (folder / "some_package").exists() else None
    return import_module(next(iter(texts)).replace("__", "."))


KERNEL = """\
import os.path
import some_beside as far
from {} import np, helper as call
from rich.text import Text

def kernel(x):
    return call(x, np) + far.near, Text, os.path
"""


def test_files_that_travel_along(folder: Path) -> None:
    """A file beside the kernel's, and none that a reader has or can install; imports get other names where need be."""
    beside = "near = 1\nnp = 2\ndef helper(x, y): return x + y\n"
    module = module_of(folder, some_kernel=KERNEL.format("some_other"), some_other=beside, some_beside=beside)
    found = extract_source([module.kernel], taken=is_taken)
    assert set(found.siblings) == {"some_other.py", "some_beside.py"}
    assert found.imports.splitlines() == [
        "import os.path",
        "import some_beside as far",
        "from rich.text import Text",
        "from some_other import helper as kernel_call",
        "from some_other import np as kernel_np",
    ]
    names: dict[str, Any] = {}
    exec(f"{found.imports}\n{found.functions}", names)
    assert names["kernel"](1)[0] == module.kernel(1)[0] == 4


def test_a_package_that_is_not_installed(folder: Path) -> None:
    """Relative imports become full ones."""
    texts = {"some_package__deep": "from .near import helper\ndef kernel(x): return helper(x)\n"}
    module = module_of(folder, **texts, some_package__near="def helper(x): return x\n")
    found = extract_source([module.kernel])
    assert found.imports == "from some_package.near import helper"
    assert found.siblings == ("some_package/",)


def test_an_import_that_cannot_have_another_name(folder: Path) -> None:
    module = module_of(folder, kernel_of_xml="import xml.dom\ndef kernel(x): return xml.dom\n")
    with pytest.raises(ScriptError, match="xml: a name that the script has already"):
        extract_source([module.kernel], taken=lambda name, _: name == "xml")
