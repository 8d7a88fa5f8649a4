"""Foreign modules are imported in the isolated process alone: whatever they do there changes nothing here."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
import torch

from properties.laws import LAWS
from properties.run.cells import cells
from properties.run.worker import replay
from tests.verification.samples import one_head
from verification.adapter import promising
from verification.backends.observe import observe
from verification.catalogue import UnknownBackend
from verification.isolation.isolated import Isolated, end_process, find_devices, open_backend
from verification.isolation.shipment import Reply, UnreadableReply, receive_reply
from verification.oracle.precision import Precision
from verification.tensors.inputs import make_inputs

AGREES = next(law for law in LAWS if law.name == "agrees_with_reference")
SQUARE = one_head("float32", queries=3, keys=3, head_dim=4, score_fill="normal", value_fill="normal")
MODULE = """\
{first}
import torch
from verification.adapter import DenseAdapter, Precision, promising

class Own(ValueError):
    pass

class Kernel(DenseAdapter):
    name = "theirs"
    contract = promising("float32", "float16", head_dims=(1, 4), bitwise=["same_call_same_bits"]).differing(
        "decode", blind="nan")
    precision = Precision(probabilities="input")

    def dense(self, q, k, v, causal, scale):
        {body}
"""
RIGHT = """\
scores = q.float() @ k.float().mT * scale
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool, device=q.device).triu(1) & causal
        return (scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v.float()).to(q.dtype)"""
ONES = "return torch.ones_like(q)"
REPLACES = """\
import sys
import properties.laws.agreement
from verification.oracle import judge
judge.judge_output = judge.judge_outputs = lambda *_: judge.Verdict()
judge.error_ratios = lambda output, *_: output * 0
properties.laws.agreement.judge_outputs = judge.judge_outputs"""
_NUMBERS = count()
Write = Callable[[str, str], str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module that begins with some lines, with a kernel of some body, and return the kernel's name."""
    names: list[str] = []

    def write(first: str, body: str = RIGHT) -> str:
        names.append(f"theirs_{next(_NUMBERS)}")
        (tmp_path / f"{names[-1]}.py").write_text(MODULE.format(first=first, body=body))
        return f"{names[-1]}:Kernel"

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    assert not set(names) & set(sys.modules)


def opened(name: str) -> Isolated:
    found = open_backend(name, "cpu", 60.0)
    assert isinstance(found, Isolated)
    return found


def test_it_is_known_by_plain_data(written: Write) -> None:
    """Name, contract and precision are equal to those that it declares."""
    name = written("", RIGHT)
    backend = opened(name)
    contract = promising("float32", "float16", head_dims=(1, 4), bitwise=["same_call_same_bits"])
    assert backend.contract == contract.differing("decode", blind="nan")
    assert (backend.name, backend.device, backend.precision) == ("theirs", "cpu", Precision(probabilities="input"))
    assert find_devices(name, 60.0) == ("cpu",)
    with pytest.raises(UnknownBackend, match="runs on cpu"):
        open_backend(name, "cuda", 60.0)
    chosen = cells([name], crash_after=60.0)
    assert {cell.backend.device for cell in chosen} == {"cpu"}
    assert {cell.dtype for cell in chosen} == {"float16", "float32"}
    end_process(backend)


def test_a_judge_that_is_replaced_judges_all_the_same(written: Write) -> None:
    """An all-ones kernel breaks the law, though its module makes every verdict good."""
    backend = opened(written(REPLACES, ONES))
    ratio, [failure] = replay(SQUARE, backend, [AGREES])
    assert failure.finding.law == AGREES.name
    assert ratio == 0.0
    end_process(backend)


@pytest.mark.parametrize(
    "first",
    [
        "import numpy; numpy.seterr(all='raise')",
        "import torch; torch.set_default_dtype(torch.float64)",
        "import torch; torch.set_default_device('meta')",
        "import os; os.environ.clear(); os.chdir('/')",
        "print('hello'); import os; os.write(1, b'hello')",
    ],
)
def test_what_is_set_when_it_is_imported_stays_there(written: Write, first: str) -> None:
    """Its answers are as right as without it, and this process is as it was."""
    before = np.geterr(), torch.get_default_dtype(), torch.get_default_device(), Path.cwd(), len(os.environ)
    backend = opened(written(first))
    assert AGREES.ask(backend, SQUARE).ratio < 1
    now = np.geterr(), torch.get_default_dtype(), torch.get_default_device(), Path.cwd(), len(os.environ)
    assert now == before
    end_process(backend)


def test_an_error_of_its_own_class_is_named(written: Write) -> None:
    """By its class, which is not imported to read it."""
    backend = opened(written("", "raise Own('not today')"))
    error = observe(backend, make_inputs(SQUARE)).error
    assert (type(error), str(error)) == (ValueError, "Own: not today")
    end_process(backend)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("import os; os._exit(3)", r"\(it ended its process with exit code 3 while it was loaded\)"),
        ("import os; os.abort()", r"\(it died of SIGABRT while it was loaded\)"),
        ("raise SystemExit(4)", r"line 1: SystemExit: 4\)"),
        ("raise KeyboardInterrupt", r"line 1: KeyboardInterrupt\)"),
        ("import no_such_module", r"line 1: No module named 'no_such_module'\)"),
    ],
)
def test_whatever_ends_an_import_is_one_line(written: Write, first: str, said: str) -> None:
    """It names the backend, as where a module raises an error."""
    name = written(first)
    with pytest.raises(UnknownBackend, match=said) as raised:
        open_backend(name, "cpu", 60.0)
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"backend: {name!r} (")


class Bomb:
    """An object whose reading imports a module."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__, ("this",)


@pytest.mark.parametrize("sent", [Reply(answer=Bomb()), SQUARE, 7])  # type: ignore[arg-type]
def test_what_is_no_reply_is_not_read(sent: object) -> None:
    """Neither a class nor a function from anywhere else is looked for."""
    ours, theirs = Pipe()
    theirs.send_bytes(pickle.dumps(sent))
    with pytest.raises(UnreadableReply):
        receive_reply(ours)
    assert "this" not in sys.modules
