"""Sources cut out of their modules, texts that are only read, and scripts that are run before they are handed over."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import contextmanager
from math import log
from pathlib import Path

import pytest

import attn_core
from verification.backends.captured_events import RANGE_LOG
from verification.backends.snippet import ScriptError
from verification.faults import FAULTS
from verification.problem import visibility
from verification.problem.visibility import visible_counts as counted
from verification.script.extract import extract_source, package_sources, quote
from verification.script.text import WIDTH, comment, fold
from verification.script.trial import failure_of

FACTOR = 2.0


def helper(x: float) -> float:
    # Twice.
    return x * FACTOR


@contextmanager
def nothing():  # type: ignore[no-untyped-def]
    yield


def carvable(x: float, unused: float = 0.0) -> float:  # noqa: ARG001
    """Uses a constant by way of a helper, an import and a decorated function."""
    with nothing():
        return log(helper(x))


def renaming() -> object:
    return counted(1, 1, "top_left")


def using_a_module() -> object:
    return visibility.visible_counts(1, 1, "top_left")


def test_what_a_function_uses_comes_with_it() -> None:
    """And nothing else; annotations are not followed, comments stay, marks for a linter go."""
    imports, functions, *_ = extract_source([carvable])
    assert imports.splitlines() == ["from contextlib import contextmanager", "from math import log"]
    assert re.findall(r"^(?:def (\w+)|(\w+) =)", functions, flags=re.M) == [
        ("", "FACTOR"),
        ("helper", ""),
        ("nothing", ""),
        ("carvable", ""),
    ]
    assert "# Twice." in functions
    assert "noqa" not in functions
    names: dict[str, object] = {}
    exec(f"from __future__ import annotations\n{imports}\n{functions}", names)
    assert names["carvable"](1.0) == carvable(1.0)  # type: ignore[operator]


def test_what_cannot_be_followed_is_refused() -> None:
    def inner() -> None: ...

    for function, said in ((inner, "not at the top"), (using_a_module, "no script can follow")):
        with pytest.raises(ScriptError, match=said):
            extract_source([function])


def test_a_name_that_was_changed_where_it_was_imported() -> None:
    """It is found under its own."""
    found = extract_source([renaming])
    names: dict[str, object] = {}
    exec(f"from __future__ import annotations\n{found.imports}\n{found.functions}", names)
    assert names["renaming"]().tolist() == [1]  # type: ignore[operator]
    assert "return visible_counts(1" in found.functions


def test_modules_come_in_an_order_in_which_they_can_be_made() -> None:
    """Whole but for jaxtyping, the package last."""
    sources = package_sources(attn_core)
    names = list(sources)
    files = Path(str(attn_core.__file__)).parent.glob("*.py")
    assert len(names) == len(list(files))
    assert names[-1] == "attn_core"
    assert names.index("attn_core.context") < names.index("attn_core.checks") < names.index("attn_core.attention")
    assert not any("jaxtyping" in text for text in sources.values())


@pytest.mark.parametrize("text", ["plain", "'''", "ends with '", "ends with \\", "\\n stays", "é", '"""'])
def test_quoted_text_is_itself(text: str) -> None:
    assert eval(quote(text)) == text


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00", "\\\n"]
)
def test_a_comment_cannot_be_left(end: str) -> None:
    """Whatever ends a line, here or for Python."""
    text = comment(f"before{end}raise SystemExit {'long ' * 40}\u202e\ud800")
    assert all(line.startswith("# ") and len(line) <= WIDTH for line in text.splitlines())
    assert text.replace("\n", "").isprintable()
    exec(compile(text, "script.py", "exec"))


def test_long_calls_are_folded() -> None:
    line = f"layer = call({', '.join(f'name_{i}={i}' for i in range(20))})"
    text = fold(f"    {line}", 4)
    assert all(len(part) <= WIDTH for part in text.splitlines())
    assert "".join(text.split()) == "".join(line.split())
    assert fold("x = y", 4) == "x = y"


def test_a_trial_leaves_nothing_behind() -> None:
    """No module, no handler."""
    text = (
        "import sys, types, logging\n"
        "sys.modules['attn_core'] = sys.modules['attn_core.new'] = types.ModuleType('attn_core')\n"
        f"logging.getLogger({RANGE_LOG!r}).addHandler(logging.Handler())\n"
    )
    before = logging.getLogger(RANGE_LOG).handlers[:]
    assert failure_of(text) == ""
    assert sys.modules["attn_core"] is attn_core
    assert "attn_core.new" not in sys.modules
    assert logging.getLogger(RANGE_LOG).handlers == before


def test_a_trial_tells_an_assert_from_an_accident() -> None:
    assert failure_of("assert 1 == 2, 'said'") == "said"
    assert failure_of("assert 1 == 2") == "assert"
    with pytest.raises(ScriptError, match="NameError: name 'x' is not defined"):
        failure_of("x")


def test_each_fault_can_be_cut_out() -> None:
    """Every function of the catalogue is at the top of its module."""
    for fault in FAULTS.values():
        functions = extract_source([swap.function for swap in fault.swaps], "swaps").functions
        assert f"def {fault.swaps[-1].function.__name__}(" in functions
        assert "@swaps" not in functions
