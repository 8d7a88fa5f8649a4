"""A backend in a process of its own answers as it does here, and what kills it kills nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from properties.laws import LAWS
from tests.verification import crashing
from tests.verification.processes import NEEDS_PROC, in_group, in_session, until
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.observe import observe, observe_call, to_numpy, to_torch
from verification.backends.protocol import Backend, NotAsked
from verification.catalogue import backend_named
from verification.isolation.declared import from_plain
from verification.isolation.host import Host
from verification.isolation.isolated import Isolated, hurried, open_backend
from verification.isolation.shipment import Reply, make_portable, pack, receive_reply, unpack
from verification.oracle.judge import Violation, judge_memory, successful_output
from verification.oracle.violation import Crash, Hang
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.misuse import MISUSES
from verification.problem.table import TENSORS
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Arena, apply_misuse, materialize

AGREES = next(law for law in LAWS if law.name == "agrees_with_reference")
ROOT = Path(__file__).parents[3]
LARGE = replace(PREFILL, poison=("nan", "large"), score_fill="huge", layout="fused", cache_layout="interleaved")
LEFT_OUT = replace(DECODE, block_tables=((99, 0), (1, 99)))
EMPTY = one_head(queries=0, keys=0)


@contextmanager
def isolated(name: str, patience: float = 60.0) -> Iterator[Isolated]:
    """One of `crashing`, and nothing of it afterwards."""
    source = f"tests.verification.crashing:{name}"
    host = Host(source, "cpu", patience)
    try:
        plain = host.open().plain
        assert plain is not None
        yield Isolated(source, patience, from_plain(plain), host)
    finally:
        host.close()


@pytest.fixture(scope="module")
def right() -> Iterator[Isolated]:
    with isolated("RIGHT") as backend:
        yield backend


@pytest.mark.parametrize(
    "problem", [PREFILL, DECODE, LARGE, LEFT_OUT, EMPTY], ids=["prefill", "decode", "large", "left out", "empty"]
)
@pytest.mark.parametrize("dtype", list(FORMATS))
def test_the_same_answer(right: Isolated, problem: Problem, dtype: str) -> None:
    """Output, memory and events, in every dtype."""
    inputs = make_inputs(replace(problem, dtype=dtype))
    here, there = observe(crashing.HONEST, inputs), observe(right, inputs)
    assert successful_output(here).tobytes() == successful_output(there).tobytes()
    assert here.memory.tobytes() == there.memory.tobytes()
    assert repr(here.events) == repr(there.events)  # a NaN is not itself
    assert there.arena.tensors.arena.numpy().tobytes() == there.memory.tobytes()


def test_events_are_among_what_is_compared(right: Isolated) -> None:
    """Of both loggers."""
    events = [event for problem in (LARGE, LEFT_OUT) for event in observe(right, make_inputs(problem)).events]
    assert {event.dropped is None for event in events} == {True, False}


@pytest.mark.parametrize("name", MISUSES)
def test_misused_tensors_travel(name: str) -> None:
    """Views of the arena as views, whatever else as it is."""
    misuse = MISUSES[name]
    inputs = make_inputs(DECODE if misuse.phase == "decode" else PREFILL)
    tensors = apply_misuse(misuse, materialize(inputs, "cpu")).tensors
    found = unpack(pack(tensors), "cpu")
    for name_ in TENSORS:
        one, other = getattr(tensors, name_), getattr(found, name_)
        if isinstance(one, torch.Tensor) and one.device.type != "meta":
            assert (one.dtype, one.shape, one.stride()) == (other.dtype, other.shape, other.stride())
            assert to_numpy(one).tobytes() == to_numpy(other).tobytes()
        else:
            assert one is other
    assert found.arena.data_ptr() % 256 == 0
    assert found.arena.numpy().tobytes() == tensors.arena.numpy().tobytes()


def test_a_refusal_is_a_refusal(right: Isolated) -> None:
    """With its type and message, and the next call is answered."""
    arena = apply_misuse(MISUSES["q_list"], materialize(make_inputs(PREFILL), "cpu"))
    here = observe_call(crashing.HONEST.prepare(PREFILL), arena).error
    there = observe_call(right.prepare(PREFILL), arena).error
    assert (type(here), str(here)) == (type(there), str(there))
    assert isinstance(there, TypeError)
    successful_output(observe(right, make_inputs(PREFILL)))


def test_errors_that_do_not_travel() -> None:
    """Come as the nearest built-in one, which says what it was, with the same notes."""
    assert make_portable(ValueError("q")).args == ("q",)
    found = make_portable(crashing.OddError(1, 2))
    assert (type(found), str(found)) == (Exception, "OddError: 1 and 2")

    class Local(ValueError):
        pass

    local = Local("q")
    local.add_note("at line 3")
    found = make_portable(local)
    assert (type(found), str(found), found.__notes__) == (ValueError, "Local: q", ["at line 3"])
    assert type(make_portable(KeyError("x"))) is KeyError
    assert type(make_portable(UnicodeDecodeError("utf-8", b"", 0, 1, "bad"))) is UnicodeError


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ABORTS", "the backend died of SIGABRT"),
        ("ABORTS_EARLY", "the backend died of SIGABRT"),
        ("SEGFAULTS", "the backend died of SIGSEGV"),
        ("EXITS", "the backend ended its process with exit code 9"),
    ],
)
def test_a_death_is_a_violation(name: str, said: str) -> None:
    """Each time; where there are answers for other problems, they come from another process."""
    with isolated(name) as backend:
        for _ in range(2):
            with pytest.raises(Crash, match=said):
                successful_output(observe(backend, make_inputs(PREFILL)))
            if name != "EXITS":
                successful_output(observe(backend, make_inputs(EMPTY)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("INTERRUPTS", "raised KeyboardInterrupt"),
        ("LEAVES", "raised SystemExit: 3"),
        ("CLOSES", "raised GeneratorExit: from nowhere"),
        ("INTERRUPTS_EARLY", "the backend raised KeyboardInterrupt while it prepared a call"),
        ("LEAVES_EARLY", "the backend raised SystemExit while it prepared a call: 3"),
    ],
)
def test_what_would_end_a_process_is_a_violation(name: str, said: str) -> None:
    """It is called by its name, and the process goes on."""
    with isolated(name) as backend:
        for _ in range(2):
            with pytest.raises(Violation, match=said):
                AGREES.ask(backend, PREFILL)


@pytest.mark.parametrize("name", ["FORKS", "FORKS_IN_C"])
def test_a_fork_that_comes_back_is_a_violation(name: str) -> None:
    """Its answer is never taken for that of the next call. One of which Python does not hear may come back late."""

    def forked() -> bool:
        try:
            successful_output(observe(backend, make_inputs(PREFILL)))
        except Crash as crash:
            assert "answered twice" in str(crash)  # noqa: PT017
            return True
        return False

    with isolated(name) as backend:
        until(forked)
        until(forked)  # in another process


def test_a_fork_answers_for_nobody() -> None:
    """Where the process that was asked is gone, it died."""
    with isolated("DIES_AFTER_A_FORK") as backend, pytest.raises(Crash, match="ended its process with exit code 5"):
        observe(backend, make_inputs(PREFILL))


@NEEDS_PROC
def test_a_fork_ends_with_its_process() -> None:
    """Though it does not end by itself."""
    with isolated("LEAVES_A_FORK") as backend:
        successful_output(observe(backend, make_inputs(PREFILL)))
        group = backend.host._process
        assert len(in_group(group)) == 2
    until(lambda: not in_group(group))


def test_a_hang_is_a_violation() -> None:
    """After the time that was given, which is less in a hurry, and what hangs is gone."""
    with isolated("LOOPS", 2.0) as backend:
        successful_output(observe(backend, make_inputs(EMPTY)))
        for context, seconds in ((hurried(backend), 0.5), (hurried(crashing.HONEST), 2.0)):
            start = time.monotonic()
            with context, pytest.raises(Hang, match=f"did not answer within {seconds:g} s"):
                observe(backend, make_inputs(PREFILL))
            assert seconds <= time.monotonic() - start < seconds + 1
        successful_output(observe(backend, make_inputs(EMPTY)))


def test_a_hurry_has_patience_for_the_slow() -> None:
    """Ten times what an answer took so far."""
    with isolated("SLOW") as backend:
        successful_output(observe(backend, make_inputs(EMPTY)))
        with hurried(backend):
            assert 3.0 <= backend.host.patience < 30


def test_a_stray_write_is_seen() -> None:
    """By an address, into bytes that are nobody's."""
    with isolated("WRITES_OUTSIDE") as backend:
        observation = observe(backend, make_inputs(PREFILL))
        with pytest.raises(Violation, match="8 guard bytes written"):
            judge_memory(observation.memory, observation.arena.before, observation.arena.spans, ())


def test_a_call_keeps_its_state_and_survives_a_death() -> None:
    """Many calls at once, more than are remembered; and one that was prepared before the process was replaced."""
    with isolated("ABORTS") as backend:
        calls = [backend.prepare(EMPTY) for _ in range(20)]
        with pytest.raises(Crash):
            observe(backend, make_inputs(PREFILL))
        for call in calls:
            successful_output(observe_call(call, materialize(make_inputs(EMPTY), "cpu")))


def test_memory_is_handed_on_from_call_to_call(right: Isolated) -> None:
    """A second call on the same tensors finds what the first has stored."""
    arenas: list[Arena] = [materialize(make_inputs(DECODE), "cpu") for _ in range(2)]
    backends: list[Backend] = [crashing.HONEST, right]
    for one, backend in zip(arenas, backends, strict=True):
        call = backend.prepare(DECODE)
        for _ in range(2):
            successful_output(observe_call(call, one))
    assert np.array_equal(arenas[0].tensors.arena.numpy(), arenas[1].tensors.arena.numpy())
    assert not np.array_equal(arenas[1].tensors.arena.numpy(), arenas[1].before)


@pytest.mark.parametrize(("number", "process"), [(-1, 0), (0, 1)])
def test_a_reply_to_another_request_is_a_violation(
    right: Isolated, monkeypatch: pytest.MonkeyPatch, number: int, process: int
) -> None:
    """Or one from another process, whoever sent it."""

    def altered(connection: Connection) -> Reply:
        reply = receive_reply(connection)
        return replace(reply, number=reply.number + number, process=reply.process + process)

    successful_output(observe(right, make_inputs(PREFILL)))
    with monkeypatch.context() as patch:
        patch.setattr("verification.isolation.host.receive_reply", altered)
        with pytest.raises(Crash, match="answered twice"):
            observe(right, make_inputs(PREFILL))
    successful_output(observe(right, make_inputs(PREFILL)))


@NEEDS_PROC
def test_a_keeper_that_is_killed_is_nobodys_violation() -> None:
    """The next request has another."""
    with isolated("RIGHT") as backend:
        process = backend.host._process
        keeper = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{process}").exists())  # Linux ends it with its keeper
        with pytest.raises(NotAsked, match="something has killed it"):
            observe(backend, make_inputs(PREFILL))
        successful_output(observe(backend, make_inputs(PREFILL)))


def test_who_is_isolated() -> None:
    """Not what is ours, nor what is trusted."""
    assert open_backend("attn_core/eager", "cpu", 1.0) is backend_named("attn_core/eager", "cpu")
    assert open_backend("mask-one-future", "cpu", 1.0) is backend_named("mask-one-future", "cpu")
    foreign = "tests.verification.crashing:RIGHT"
    assert open_backend(foreign, "cpu", None) is crashing.RIGHT
    found = open_backend(foreign, "cpu", 1.0)
    assert isinstance(found, Isolated)
    assert found.on("cpu") is found
    assert (found.name, found.device, found.contract) == ("right", "cpu", crashing.RIGHT.contract)


@pytest.mark.parametrize("dtype", [fmt.torch for fmt in FORMATS.values()])
def test_to_torch_is_the_way_back(dtype: torch.dtype) -> None:
    """To the bit."""
    x = torch.tensor([1.5, float("nan"), -0.0]).to(dtype)
    assert to_torch(to_numpy(x)).dtype == dtype
    assert to_numpy(to_torch(to_numpy(x))).tobytes() == to_numpy(x).tobytes()


ORPHAN = """
from tests.verification.samples import PREFILL
from verification.backends.observe import observe
from verification.isolation.isolated import open_backend
from verification.tensors.inputs import make_inputs
print("asks", flush=True)
observe(open_backend("tests.verification.crashing:LOOPS_ALWAYS", "cpu", 600.0), make_inputs(PREFILL))
"""


@NEEDS_PROC
def test_nothing_outlives_who_asked() -> None:
    """Not even a loop without end, when its reader is killed and can tidy up nothing."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    asks = subprocess.Popen(
        [sys.executable, "-c", ORPHAN], env=environment, stdout=subprocess.PIPE, start_new_session=True
    )
    assert asks.stdout is not None
    asks.stdout.readline()
    until(lambda: len(in_session(asks.pid)) == 4)  # who asks, the nursery, the keeper, and the backend
    asks.kill()
    asks.wait()
    asks.stdout.close()
    until(lambda: not in_session(asks.pid))
