"""One buffer: aligned tensors, guards between them, views that read what was written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.verification.spans import offsets
from verification.problem.formats import FORMATS
from verification.tensors.arena import ArenaPlan, Span, contiguous_strides

F16, I64 = np.dtype(np.float16), np.dtype(np.int64)
SHAPES = [(3, 2), (1,), (0, 4), (300,), (7, 1, 5), (256,)]


def test_tensors_are_aligned_and_apart() -> None:
    """Multiples of 256 bytes, and at least 256 bytes between, before and after."""
    plan, end = ArenaPlan(), 0
    for shape in SHAPES:
        offset = plan.reserve(shape, F16, 0xFF)
        assert offset % 256 == 0
        assert offset - end >= 256
        end = offset + int(np.prod(shape)) * 2
    memory, _ = plan.fill()
    assert len(memory) - end >= 256


def test_each_byte_holds_the_poison_of_its_tensor() -> None:
    """The tensor itself and the guards up to 256 bytes around it."""
    plan = ArenaPlan()
    first, second = plan.reserve((300,), F16, 0x7B), plan.reserve((10,), I64, 0xFB)
    _, view = plan.fill()
    assert set(view[: first + 600 + 256].tolist()) == {0x7B}
    assert set(view[second - 256 + (second - first - 600) % 256 :].tolist()) <= {0x7B, 0xFB}
    assert set(view[second:].tolist()) == {0xFB}


def test_torch_and_numpy_see_the_same_bytes() -> None:
    """Without a copy."""
    plan = ArenaPlan()
    plan.reserve((4,), F16, 0)
    memory, view = plan.fill()
    view[5] = 77
    assert memory[5] == 77


def test_an_empty_plan_has_guards_only() -> None:
    """No tensor is an ordinary number of tensors."""
    assert len(ArenaPlan().fill()[0]) == 256


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 4, 5), (5, 0, 2)])
def test_contiguous_strides_are_numpys(shape: tuple[int, ...]) -> None:
    """Of an empty array too, wherever a stride matters."""
    expected = np.zeros(shape, np.float32).strides
    assert 0 in shape or contiguous_strides(shape, 4) == expected


@pytest.mark.parametrize("dtype", [*(f.numpy for f in FORMATS.values()), np.dtype(np.int32), I64], ids=str)
@pytest.mark.parametrize("strides", [(8, 2, 1), (1, 6, 2), (24, 4, 2)])
def test_host_and_device_views_agree(dtype: np.dtype, strides: tuple[int, int, int]) -> None:
    """At odd strides, in every type, bit for bit."""
    shape = (2, 3, 2)
    span = Span(256, shape, tuple(s * dtype.itemsize for s in strides), dtype)
    memory = torch.zeros(2048, dtype=torch.uint8)
    span.on_host(memory.numpy())[...] = np.arange(12).reshape(shape).astype(dtype)
    assert span.on_device(memory).to(torch.int64).tolist() == np.arange(12).reshape(shape).tolist()
    assert 256 + span.size == max(offsets(span)) + 1
    assert int(memory.count_nonzero()) == len(set(memory.nonzero().ravel().tolist()) & set(offsets(span)))


def test_an_empty_span_has_no_bytes() -> None:
    """But a shape and a dtype, on the host and on the device."""
    span = Span(256, (0, 3), (6, 2), F16)
    memory = torch.zeros(512, dtype=torch.uint8)
    assert span.size == 0
    assert span.on_host(memory.numpy()).shape == tuple(span.on_device(memory).shape) == (0, 3)
    assert span.on_device(memory).dtype == torch.float16
