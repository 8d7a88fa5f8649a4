"""The documentation is the contract: what is declared weaker has its words beside it."""

from __future__ import annotations

import importlib
import pydoc
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.quality import documented
from tests.quality.documented import Declaring, cited, explains, list_declaring, list_weaknesses
from verification.adapter import Adapter, BatchedAdapter, Precision, Weaker, promising
from verification.records.entries import entries
from verification.records.findings import LEDGER

EVERY = [pytest.param(x, id=f"{x.name} on {x.device}") for x in list_declaring()]
LINES = {(line.source, line.documented): line for x in list_declaring() for line in x.weaker if line.documented}


class Silent(BatchedAdapter):
    """Declares less than it could in three ways, and has a line about one of them, and one about nothing."""

    name = "silent"
    contract = promising("float32", dense_batches=True, nonfinite=True, undefined={"H/G: 2"})
    precision = Precision(scores="input")
    weaker = (
        Weaker("scores", "in float32", "a page", "findings 1"),
        Weaker("exp_error", "", "a page", "a short polynomial"),
        Weaker("dtypes", "", "a page", "no such kernel", ("float16", "bfloat16")),
        Weaker("scoring", "", "a page", "no such argument"),
    )


def find_unexplained(declaring: Declaring) -> list[tuple[str, str]]:
    """Return the weaknesses that no line is about."""
    return sorted(w for w in list_weaknesses(declaring) if not any(explains(line, w) for line in declaring.weaker))


def find_idle(declaring: Declaring) -> list[Weaker]:
    """Return the lines that name something which is not weaker."""
    found = list_weaknesses(declaring)
    return [
        line
        for line in declaring.weaker
        if not any(explains(line, w) for w in found) or not {(line.field, v) for v in line.values} <= found
    ]


@pytest.mark.parametrize("declaring", EVERY)
def test_each_weakness_has_its_line(declaring: Declaring) -> None:
    assert find_unexplained(declaring) == []


@pytest.mark.parametrize("declaring", EVERY)
def test_no_line_is_left_behind(declaring: Declaring) -> None:
    """By a declaration that has become stronger."""
    assert find_idle(declaring) == []


def test_a_weakness_without_a_line_is_seen() -> None:
    """And a line without a weakness: what the tests above would say of such an adapter."""
    assert find_unexplained(Silent()) == [("dtypes", "float64"), ("undefined", "H/G: 2")]
    assert [line.field for line in find_idle(Silent())] == ["exp_error"]


def test_every_adapter_is_among_them() -> None:
    """Those of all modules, and those whose library is not installed."""
    names = {x.name for x in list_declaring()}
    assert {
        "mlx/sdpa, masked",
        "openvino/sdpa",
        "torch/varlen_attn",
        "vllm/cpu",
        "sdpa/flash",
        "flex/compiled",
    } <= names
    modules = {type(x).__module__ for x in list_declaring() if isinstance(x, Adapter)}
    files = {path.stem for path in Path(importlib.import_module("verification.adapters").__path__[0]).glob("[!_]*.py")}
    assert files - {module.rpartition(".")[2] for module in modules} == {"vllm_kernels"}


@pytest.mark.parametrize("declaring", EVERY)
def test_a_sharper_precision_is_quoted(declaring: Declaring) -> None:
    """Field by field, and it is sharper: it has the default, where the declared one has not."""
    if declaring.documented is None:
        return
    differing = {name for name, value in vars(declaring.documented).items() if value != vars(declaring.precision)[name]}
    assert differing
    for name in differing:
        assert getattr(declaring.documented, name) == getattr(Precision(), name)
        assert any(line.field == name and line.documented for line in declaring.weaker), name


def test_entries_that_are_named_exist() -> None:
    known = {int(entry.number) for entry in entries(LEDGER)}
    for declaring in list_declaring():
        for line in declaring.weaker:
            assert set(cited(line)) <= known, line


def plain(text: str) -> str:
    """Return a text without marks of code, quotes of C++ and line breaks."""
    return " ".join(re.sub(r'[`"#]', " ", text).split())


def text_at(source: str) -> str:
    """Return the documentation at a place: a file of a package, or the docstring of a function; skips where the library
    is not installed, and for what stands on the web.
    """
    if "://" in source:
        pytest.skip("stands on the web")
    package = re.split(r"[./]", source)[0]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    if "/" in source:
        path = Path(spec.submodule_search_locations[0]).parent / source
        return path.read_text(encoding="utf-8") if path.exists() else pytest.skip(f"{path} is not shipped")
    found = pydoc.locate(source)
    return found.__doc__ or "" if found is not None else pytest.skip(f"{source} is not in this release")


@pytest.mark.parametrize("line", LINES.values(), ids=lambda line: f"{line.field}-{line.documented[:30]}")
def test_the_words_stand_there(line: Weaker) -> None:
    """Word for word, in the documentation of what is installed."""
    assert plain(line.documented) in plain(text_at(line.source))


def test_the_page_is_made_from_the_classes() -> None:
    """``python -m tests.quality.documented`` makes it."""
    assert documented.made() == documented.PAGE.read_text(encoding="utf-8")
