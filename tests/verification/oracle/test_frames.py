"""Frames of a kernel's exception: its own code alone, wherever it ran."""

from __future__ import annotations

import pickle

import pytest
import torch

from properties.laws import LAWS
from tests.verification.many_bugs import Raises
from verification.isolation.shipment import make_portable
from verification.oracle.frames import name_error, own_frames
from verification.oracle.judge import Violation
from verification.problem import Problem

DECODE = Problem("decode", "float32", 1, 1, 1, (1,), (1,), 1, 1, (0,), ((0,),))


def raised_by_torch() -> Exception:
    try:
        torch.nn.functional.embedding(torch.zeros(1, dtype=torch.long), torch.zeros(1), padding_idx=9)
    except Exception as error:
        return error
    raise AssertionError


def test_the_frames_of_a_violation_are_the_kernels() -> None:
    """File, line, function and source, the innermost last; none of the law, the harness or torch."""
    with pytest.raises(Violation) as caught:
        LAWS[0].ask(Raises(), DECODE)
    outer, inner = caught.value.frames
    assert "many_bugs.py:" in outer
    assert outer.endswith("in attend: return self.plan(tensors)[problem.num_heads]")
    assert inner.endswith('in plan: raise RuntimeError(f"no plan for {tensors.q.shape[0]} rows")')
    assert caught.value.raised == f"RuntimeError at {inner}"


def test_torchs_own_frames_are_left_out() -> None:
    frames = own_frames(raised_by_torch())
    assert len(frames) == 1
    assert "test_frames.py:" in frames[0]
    assert ", in raised_by_torch: torch.nn" in frames[0]


class Odd(ValueError):
    """That cannot be made again from its message."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize("make", [lambda: ValueError("q: bad"), lambda: Odd(1, 2)])
def test_frames_travel_between_processes(make: object) -> None:
    """With an exception that can be sent, and with its stand-in."""
    try:
        raise make()  # type: ignore[operator]
    except ValueError as error:
        here, sent = name_error(error), pickle.loads(pickle.dumps(make_portable(error)))
    assert "in test_frames_travel_between_processes: raise make()" in own_frames(sent)[-1]
    assert name_error(sent).split(" at ")[1] == here.split(" at ")[1]


def test_an_error_without_frames_is_named_by_its_message() -> None:
    assert name_error(KeyError("x")) == "KeyError: 'x'"
