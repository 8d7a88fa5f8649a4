"""Backends that take their process with them on some problems, and answer rightly on the others."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.backends.protocol import Call
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

HONEST = AttnCore()
# Bytes before the first tensor of an arena.
GUARD = 256


def abort(_: Tensors) -> None:
    os.abort()


def loop_for_ever(_: Tensors) -> None:
    while True:
        pass


def say_and_loop(_: Tensors) -> None:
    """Whoever reads standard error knows that it was asked."""
    os.write(2, b"asked\n")
    loop_for_ever(_)


def say_and_hold_python(_: Tensors) -> None:
    """No other thread of the process gets a turn."""
    os.write(2, b"asked\n")
    ctypes.PyDLL(None).sleep(600)


def write_far_outside(_: Tensors) -> None:
    ctypes.memset(0, 1, 1)


def write_before_q(tensors: Tensors) -> None:
    """The eight bytes before it, which are nobody's, by an address that nobody checks."""
    ctypes.memset(tensors.arena.data_ptr() + GUARD - 8, 0x5A, 8)


def exit_with_nine(_: Tensors) -> None:
    os._exit(9)


def raise_nothing(_: Tensors) -> None:
    """Goes right."""


def refuse(_: Tensors) -> None:
    raise ValueError("q: not today")


class OddError(Exception):
    """That cannot be made again from its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_odd(_: Tensors) -> None:
    raise OddError(1, 2)


def interrupt(_: Tensors) -> None:
    raise KeyboardInterrupt


def leave(_: Tensors) -> None:
    raise SystemExit(3)


def close_generator(_: Tensors) -> None:
    raise GeneratorExit("from nowhere")


def fork(_: Tensors) -> None:
    """Both halves go on, and answer."""
    os.fork()


def fork_in_c(_: Tensors) -> None:
    """Python does not hear of it."""
    ctypes.CDLL(None).fork()


def die_after_a_fork(_: Tensors) -> None:
    """The half that was not asked goes on."""
    if os.fork():
        os._exit(5)


def leave_a_fork_behind(_: Tensors) -> None:
    """It never ends by itself, whoever else does."""
    if not os.fork():
        time.sleep(600)


def print_a_line(_: Tensors) -> None:
    """From Python, from C, which keeps it in a buffer, and straight to the descriptor."""
    print("from Python")  # noqa: T201
    ctypes.CDLL(None).puts(b"from C")
    os.write(1, b"from the descriptor\n")


def be_slow(_: Tensors) -> None:
    time.sleep(0.3)


def index_outside(tensors: Tensors) -> None:
    """An assertion on the device fails, and all that follows with it."""
    torch.zeros(1, device=tensors.q.device)[torch.tensor([7], device=tensors.q.device)]


def write_nowhere(tensors: Tensors) -> None:
    """To an address that is nobody's."""
    make: Any = torch._C._construct_storage_from_data_pointer
    storage = make(1 << 20, tensors.q.device, 8)
    torch.empty(0, dtype=torch.uint8, device=tensors.q.device).set_(storage, 0, (8,), (1,)).fill_(1)


def spin(_: Tensors) -> None:
    """A kernel that does not end."""
    torch.cuda._sleep(1 << 62)  # type: ignore[no-untyped-call]


def write_on_device(tensors: Tensors) -> None:
    """The eight bytes before q, which are nobody's."""
    end = GUARD
    tensors.arena.view(torch.uint8)[end - 8 : end] = 0x5A


def two_sequences(problem: Problem) -> bool:
    return problem.num_sequences > 1


def wide_heads(problem: Problem) -> bool:
    return problem.head_dim > 2


def always(_: Problem) -> bool:
    return True


@dataclass(frozen=True)
class Crashing:
    """``deed`` is done before the answer to a problem of that ``kind``; where ``early``, when it is prepared."""

    name: str
    deed: Callable[[Tensors], None]
    kind: Callable[[Problem], bool]
    early: bool = False
    device: str = "cpu"
    contract: Contract = field(default=HONEST.contract, repr=False)
    precision: Precision = field(default=HONEST.precision, repr=False)

    def prepare(self, problem: Problem) -> Call:
        honest, spoilt = HONEST.prepare(problem), self.kind(problem)
        if spoilt and self.early:
            self.deed(None)  # type: ignore[arg-type]

        def call(tensors: Tensors) -> Tensor:
            if spoilt:
                self.deed(tensors)
            return honest(tensors)

        return call

    def on(self, device: str) -> Crashing:  # noqa: ARG002
        return self


ABORTS = Crashing("aborts", abort, two_sequences)
ABORTS_EARLY = Crashing("aborts-early", abort, wide_heads, early=True)
ABORTS_ALWAYS = Crashing("aborts-always", abort, always)
LOOPS = Crashing("loops", loop_for_ever, wide_heads)
LOOPS_ALWAYS = Crashing("loops-always", loop_for_ever, always)
SAYS_AND_LOOPS = Crashing("says-and-loops", say_and_loop, always)
HOLDS_PYTHON = Crashing("holds-python", say_and_hold_python, always)
WRITES_OUTSIDE = Crashing("writes-outside", write_before_q, two_sequences)
SEGFAULTS = Crashing("segfaults", write_far_outside, wide_heads)
EXITS = Crashing("exits", exit_with_nine, always)
REFUSES = Crashing("refuses", refuse, always)
ODD = Crashing("odd", raise_odd, always)
SLOW = Crashing("slow", be_slow, always)
INTERRUPTS = Crashing("interrupts", interrupt, always)
INTERRUPTS_EARLY = Crashing("interrupts-early", interrupt, always, early=True)
LEAVES = Crashing("leaves", leave, always)
LEAVES_EARLY = Crashing("leaves-early", leave, always, early=True)
CLOSES = Crashing("closes", close_generator, always)
FORKS = Crashing("forks", fork, always)
FORKS_IN_C = Crashing("forks-in-c", fork_in_c, always)
DIES_AFTER_A_FORK = Crashing("dies-after-a-fork", die_after_a_fork, always)
LEAVES_A_FORK = Crashing("leaves-a-fork", leave_a_fork_behind, always)
PRINTS = Crashing("prints", print_a_line, always)
RIGHT = Crashing("right", raise_nothing, always)

ON_DEVICE = replace(RIGHT, device="cuda")
ASSERTS = replace(ON_DEVICE, name="asserts", deed=index_outside, kind=two_sequences)
WRITES_NOWHERE = replace(ON_DEVICE, name="writes-nowhere", deed=write_nowhere, kind=two_sequences)
SPINS = replace(ON_DEVICE, name="spins", deed=spin, kind=wide_heads)
WRITES_ON_DEVICE = replace(ON_DEVICE, name="writes-on-device", deed=write_on_device, kind=two_sequences)
