"""The page that takes a newcomer from nothing to a bug says what happens."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from properties.laws import LAWS
from properties.run.round import fuzz
from properties.show.recorded import write_script
from verification import catalogue
from verification.adapter import Adapter, DenseAdapter, PagedAdapter, promising
from verification.backends.attn_core import AttnCore
from verification.catalogue import UnknownBackend, backend_named, devices_of
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

DOCS = Path(__file__).parents[2] / "docs"
AGREES = next(law for law in LAWS if law.name == "agrees_with_reference")


@pytest.fixture(autouse=True)
def _in_the_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(DOCS / "tutorial")
    yield
    sys.modules.pop("my_kernel", None)
    backend_named.cache_clear()
    catalogue.installed.cache_clear()


def test_the_page_shows_the_file() -> None:
    """All of it, and it is short."""
    text = (DOCS / "tutorial" / "my_kernel.py").read_text()
    assert text.strip() in (DOCS / "tutorial.md").read_text()
    assert len(text.splitlines()) <= 20


def test_its_bug_is_found_and_shown() -> None:
    """As small as the page says, and the script has the function and fails."""
    backend = backend_named("my_kernel:MyKernel")
    _, broken, _ = fuzz(AGREES, backend, "float16", 1, examples=100)
    assert broken is not None
    assert (broken.problem.query_lens, broken.problem.key_lens, broken.problem.head_dim) == ((2,), (2,), 1)
    assert "def attention(" in write_script(broken.problem, AGREES, backend)


def test_mended_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the line of the page in the place of the other."""
    page = (DOCS / "tutorial.md").read_text()
    line = next(iter(re.findall(r"^ +scores = scores\.masked_fill.*$", page, re.M)))
    text = (DOCS / "tutorial" / "my_kernel.py").read_text()
    mended = re.sub(r"^ +scores \+= .*$", line, text, flags=re.M)
    assert mended != text
    names: dict[str, object] = {"__name__": "mended"}
    exec(compile(mended, "mended.py", "exec"), names)
    kernel = names["MyKernel"]
    monkeypatch.setattr("verification.catalogue._import_backend", lambda _: kernel())  # type: ignore[operator]
    for law in LAWS:
        if law.asks(backend_named("mended:MyKernel")):
            _, broken, _ = fuzz(law, backend_named("mended:MyKernel"), "float16", 1, examples=40)
            assert broken is None, broken


def test_it_runs_where_it_says() -> None:
    """On a processor, and nowhere else."""
    assert devices_of("my_kernel:MyKernel") == ("cpu",)
    with pytest.raises(UnknownBackend, match="runs on cpu"):
        backend_named("my_kernel:MyKernel", "cuda")


def test_an_installed_one_is_asked_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the module is called."""
    monkeypatch.setattr(catalogue, "installed", cache(lambda: {"theirs": "my_kernel:MyKernel"}))
    assert backend_named("theirs").name == "my/kernel"
    assert devices_of("theirs") == ("cpu",)


class Paged(PagedAdapter):
    """The layer itself, as somebody else's kernel."""

    name, contract = "theirs/paged", promising("float32")

    def attend(self, problem: Problem, tensors: Tensors) -> object:  # type: ignore[override]
        return AttnCore().prepare(problem)(tensors).view(tensors.q.shape)


def test_a_kernel_with_a_cache_of_its_own() -> None:
    """Obeys what it promises."""
    for law in LAWS:
        if law.asks(Paged()):
            _, broken, _ = fuzz(law, Paged(), "float32", 1, examples=15)
            assert broken is None, broken


def test_the_least_that_is_promised() -> None:
    """Numbers alone."""
    contract = promising("float16", head_dims=(64,))
    assert (contract.dtypes, contract.head_dims, contract.bitwise) == (("float16",), (64,), frozenset())
    assert not any((contract.refuses, contract.range_events, contract.nonfinite))
    assert Adapter.precision == Precision()
    assert DenseAdapter.device == "cpu"
