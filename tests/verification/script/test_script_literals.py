"""Tensors written down come back as they were: every bit but a NaN's payload, and every stride."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest
import torch

from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.observe import to_numpy
from verification.backends.snippet import ScriptError
from verification.problem import Problem, Special
from verification.problem.formats import FORMATS
from verification.problem.table import given_to
from verification.script.literals import MOST_NUMBERS, Literals
from verification.script.text import WIDTH
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize

SPECIALS = (Special("q", 0, 0, 0, "nan"), Special("v", 1, 0, 0, "-inf"))


def restrided(x: torch.Tensor, strides: tuple[int, ...], gap: float = 0.0) -> torch.Tensor:
    """As the script has it."""
    size = 1 + sum((n - 1) * stride for n, stride in zip(x.shape, strides, strict=True))
    return torch.full((size,), gap, dtype=x.dtype).as_strided(x.shape, strides).copy_(x)


def read_back(problem: Problem) -> tuple[list[str], dict[str, Any]]:
    lines = Literals("cpu").call(materialize(make_inputs(problem), "cpu"), given_to(problem), "", spoiled=False)
    names: dict[str, Any] = {"torch": torch, "nan": nan, "inf": inf, "restrided": restrided}
    exec("\n".join(lines), names)
    return lines, names


@pytest.mark.parametrize("layout", ["contiguous", "fused", "transposed", "strided"])
@pytest.mark.parametrize("cache_layout", ["contiguous", "interleaved", "transposed"])
@pytest.mark.parametrize("problem", [PREFILL, DECODE, replace(DECODE, cache_dtype="float32")])
@pytest.mark.parametrize("dtype", FORMATS)
def test_they_come_back(problem: Problem, layout: str, cache_layout: str, dtype: str) -> None:
    problem = replace(
        problem,
        dtype=dtype,
        layout=layout,  # type: ignore[arg-type]
        cache_layout=cache_layout,  # type: ignore[arg-type]
        poison=("nan", "large"),
        specials=SPECIALS,
        index_dtype="int32",
    )
    _, names = read_back(problem)
    given = materialize(make_inputs(problem), "cpu").tensors
    for name in given_to(problem):
        x, wanted = names[name], getattr(given, name)
        assert x.dtype == wanted.dtype
        if not (name in ("q", "k", "v") and layout == "fused"):  # cut from the tensor that they share, as there
            assert x.stride() == wanted.stride(), name
        np.testing.assert_array_equal(x.double(), wanted.double())
        assert (x.signbit() == wanted.signbit())[~wanted.isnan()].all()


def test_a_large_cache_is_written_short() -> None:
    """As the number that fills it, and the rows that hold others; else a problem of many blocks had no script."""
    problem = replace(DECODE, num_blocks=40_000, block_tables=((2, 39_999), (1, 99)), poison=("nan", "zero"))
    lines, names = read_back(problem)
    assert "torch.full((40000, 2, 1, 4), nan" in "\n".join(lines)
    assert all(len(line) < 2 * WIDTH for line in "\n".join(lines).splitlines())
    np.testing.assert_array_equal(to_numpy(names["k_cache"]), make_inputs(problem).k_cache)


@pytest.mark.parametrize("sizes", [{"queries": 0, "keys": 3}, {"queries": 3, "keys": 0}])
def test_empty_tensors(sizes: dict[str, int]) -> None:
    _, names = read_back(one_head(**sizes))
    assert names["q"].shape == (sizes["queries"], 1, 1)
    assert names["k"].shape == (sizes["keys"], 1, 1)


def test_what_is_too_large_is_refused() -> None:
    """Before anybody has to scroll over it."""
    with pytest.raises(ScriptError, match=f"more than {MOST_NUMBERS} numbers"):
        read_back(one_head(queries=200, keys=200, head_dim=64, score_fill="normal"))


def test_lines_are_wrapped() -> None:
    """Of tensors that are longer than a line."""
    lines, _ = read_back(one_head(queries=20, keys=20, head_dim=8, score_fill="normal"))
    assert max(len(line) for line in "\n".join(lines).splitlines()) <= WIDTH


def test_on_an_accelerator() -> None:
    """Without one here, the text."""
    lines = Literals("cuda:0").call(materialize(make_inputs(one_head()), "cpu"), ("q", "k", "v"), "_2", spoiled=False)
    assert lines[0] == 'q_2 = torch.tensor([[[1.0]]], dtype=torch.float16, device="cuda")  # [T=1, H=1, D=1]'


@pytest.mark.parametrize(
    ("misuse", "written"),
    [
        ("q_list", "q = ([[[1.0]]])"),
        ("cu_seqlens_q_missing", "cu_seqlens_q = None"),
        ("k_device", 'k = torch.empty((1, 1, 1), dtype=torch.float16, device="meta")'),
        ("q_rank", "q = torch.tensor([[[[1.0]]]], dtype=torch.float16)  # [1, 1, 1, 1]"),
        ("q_integer", "q = torch.tensor([[[1]]], dtype=torch.int32)  # [T=1, H=1, D=1]"),
    ],
)
def test_a_spoiled_argument_is_written_as_it_was_given(misuse: str, written: str) -> None:
    problem = one_head(misuse=misuse)
    lines = Literals("cpu").call(materialize(make_inputs(problem), "cpu"), given_to(problem), "", spoiled=True)
    assert written in lines
