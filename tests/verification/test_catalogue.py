"""Backends of other people's modules: what is wrong with one is said in one line, with the line of their code."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from verification.adapter import BatchedAdapter, promising
from verification.catalogue import UnknownBackend, backend_named

HEAD = """\
from verification.adapter import DenseAdapter, promising
from verification.oracle.precision import Precision

class Kernel(DenseAdapter):
    {body}
    name = "theirs"
"""
GOOD = 'contract = promising("float16")'
_NUMBERS = count()


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a kernel, a new one each time, whose fifth line is the test's parameter."""
    module = f"their_kernel_{next(_NUMBERS)}"
    (tmp_path / f"{module}.py").write_text(HEAD.format(body=request.param))
    monkeypatch.syspath_prepend(tmp_path)
    return f"{module}:Kernel"


CASES = [
    ('contract = promising("fp16")', "line 5: dtypes: 'fp16' (must be one of 'float16', "),
    ('contract = promising("float16",\n        blind="zero")', "line 5: blind: 'zero' (must be one of 'zeros', "),
    ('contract = promising("float16", unifrm=True)', "line 5: promising: 'unifrm' (must be a field that it takes"),
    ('precision = Precision(partials="accumulator")', "line 5: partials: 'accumulator' (must be one of '', 'input'"),
    ('contract = {"dtypes": ("float16",)}', "contract: {'dtypes': ('float16',)} (must be a Contract, as `promising` m"),
    (f"{GOOD}; precision = Precision", "precision: <class 'verification.oracle.precision.Precision'> (must be a Prec"),
    ("contract = property(lambda self: promising())", "line 5: dtypes: () (must name at least one dtype)"),
    (f"{GOOD}; device = 0", "device: 0 (must be a text)"),
    ("raise RuntimeError('on\\ntwo lines')", "line 5: RuntimeError: on two lines"),
    ("raise KeyError", "line 5: KeyError)"),
    ("def __init__(self): None.nothing", "line 5: 'NoneType' object has no attribute 'nothing'"),
    ("contract = promising(", "'(' was never closed ("),
    ("import no_such_module", "line 5: No module named 'no_such_module'"),
]


@pytest.mark.parametrize(("named", "line"), CASES, indirect=["named"])
def test_whatever_a_foreign_module_raises_is_one_line(named: str, line: str) -> None:
    """It begins with the name that was asked for."""
    with pytest.raises(UnknownBackend) as raised:
        backend_named(named)
    [said] = str(raised.value).splitlines()
    assert said.startswith(f"backend: {named!r} (")
    assert line in said


@pytest.mark.parametrize("named", [f"{GOOD}; dense = None"], indirect=True)
def test_one_with_nothing_wrong_is_made(named: str) -> None:
    """By its name, on its device."""
    assert (backend_named(named).name, backend_named(named).device) == ("theirs", "cpu")


@pytest.mark.parametrize("named", [GOOD], indirect=True)
def test_the_name_of_a_file_is_answered_with_that_of_its_module(named: str) -> None:
    """The most likely slip: `module.py:Class`."""
    with pytest.raises(UnknownBackend) as raised:
        backend_named(named.replace(":", ".py:"))
    assert str(raised.value).endswith(f"{named})")


def test_a_batched_adapter_needs_dense_batches() -> None:
    """Without them it would be asked nothing; a class that has no contract of its own may be a base."""
    with pytest.raises(ValueError, match=r"contract\.dense_batches: False \(must be True"):
        type("Kernel", (BatchedAdapter,), {"contract": promising("float16")})
    assert issubclass(type("Base", (BatchedAdapter,), {}), BatchedAdapter)
