"""Outputs that are no answer: told in words about the kernel's output, with what it must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from properties.laws import LAWS
from tests.verification.many_bugs import DenseReturnsPair, ReturnsPair
from verification.backends.protocol import Backend
from verification.backends.returned import check_returned
from verification.oracle.judge import Violation
from verification.oracle.violation import BadOutput
from verification.problem import Problem

DECODE = Problem("decode", "float16", 1, 1, 1, (1,), (1,), 1, 1, (0,), ((0,),))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (None, "None"),
        ((torch.zeros(1), torch.zeros(1)), "a tuple of 2 (Tensor, Tensor)"),
        ([torch.zeros(1), None], "a list of 2 (Tensor, NoneType)"),
        (np.zeros((2, 3), np.float32), "a NumPy array float32 [2, 3]"),
        (1.0, "a float"),
    ],
)
def test_what_is_no_tensor(x: Any, said: str) -> None:
    with pytest.raises(BadOutput) as caught:
        check_returned("out", x)
    assert str(caught.value) == f"out: the kernel returned {said} (must be a tensor, or a dict of tensors by name)"


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (ReturnsPair(), "out: the kernel returned a tuple of 2 (Tensor, Tensor) (must be a tensor, or a dict of"),
        (DenseReturnsPair(), "dense: the kernel returned a tuple of 2 (Tensor, Tensor) (must be a tensor [H, Lq, D])"),
    ],
)
def test_a_law_tells_of_the_output(backend: Backend, said: str) -> None:
    """Not of what our code does with it; and it is of one cause whatever the problem."""
    with pytest.raises(Violation) as caught:
        LAWS[0].ask(backend, DECODE)
    assert str(caught.value).startswith(said)
    assert caught.value.raised
    assert not caught.value.frames


def test_a_shape_that_is_wrong() -> None:
    with pytest.raises(BadOutput) as caught:
        check_returned("dense", torch.zeros(3, 2), (2, 3), "[H, D]")
    assert str(caught.value) == "dense: the kernel returned a tensor [3, 2] (must be [H, D], [2, 3])"
