"""Overlaps in memory: told exactly for caches that are cut out of one tensor, and never missed."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from attn_core.overlap import overlap, overlaps_itself

SHAPE = N, S, G, D = 3, 2, 2, 4


def _places(x: Tensor) -> set[int]:
    """The address of every element."""
    steps = product(*(range(length) for length in x.shape))
    strides = x.stride()
    offsets = (sum(i * step for i, step in zip(index, strides, strict=True)) for index in steps)
    return {x.data_ptr() + offset * x.element_size() for offset in offsets}


def _buffer(*shape: int) -> Tensor:
    return torch.zeros(shape)


PAIRS: dict[str, tuple[Tensor, Tensor]] = {
    "two tensors": (_buffer(*SHAPE), _buffer(*SHAPE)),
    "halves": tuple(_buffer(2, *SHAPE)),  # type: ignore[dict-item]
    "block by block": tuple(_buffer(N, 2, S, G, D).transpose(0, 1)),  # type: ignore[dict-item]
    "token by token": tuple(_buffer(N, S, 2, G, D).permute(2, 0, 1, 3, 4)),  # type: ignore[dict-item]
    "head by head": tuple(_buffer(N, S, G, 2, D).permute(3, 0, 1, 2, 4)),  # type: ignore[dict-item]
    "number by number": tuple(_buffer(N, S, G, D, 2).permute(4, 0, 1, 2, 3)),  # type: ignore[dict-item]
    "heads outside": tuple(_buffer(N, 2, G, S, D).transpose(2, 3).transpose(0, 1)),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("name", PAIRS)
def test_caches_cut_out_of_one_tensor_do_not_overlap(name: str) -> None:
    """In either order; and each overlaps itself as another."""
    k, v = PAIRS[name]
    assert not overlap(k, v)
    assert not overlap(v, k)
    assert not overlaps_itself(k)
    assert overlap(k, k)
    assert overlap(v, v[:])


def test_axes_of_other_strides_inside_equal_blocks_do_not_overlap() -> None:
    """Keys with heads outside of tokens, values the other way round."""
    both = _buffer(N, 2, S * G * D)
    assert not overlap(both[:, 0].view(N, G, S, D).transpose(1, 2), both[:, 1].view(SHAPE))


@pytest.mark.parametrize("shift", range(1, 30))
@pytest.mark.parametrize(
    "strides", [(16, 8, 4, 1), (32, 8, 4, 1), (40, 16, 4, 1), (48, 24, 6, 1), (64, 32, 16, 2)], ids=str
)
def test_every_distance_is_told_as_the_addresses_tell_it(strides: tuple[int, ...], shift: int) -> None:
    """Equal strides: two caches meet if and only if they have an address in common."""
    memory = torch.zeros(400)
    a, b = memory.as_strided(SHAPE, strides), memory.as_strided(SHAPE, strides, shift)
    assert overlap(a, b) == overlap(b, a) == bool(_places(a) & _places(b))


@pytest.mark.parametrize("shift", [0, 1, 4, 16, 40])
def test_other_strides_are_never_missed(shift: int) -> None:
    """They may be told to overlap where they do not."""
    memory = torch.zeros(400)
    for strides in ((16, 8, 4, 1), (64, 4, 8, 1), (4, 12, 24, 1)):
        a, b = memory.as_strided(SHAPE, (16, 8, 4, 1)), memory.as_strided(SHAPE, strides, shift)
        assert overlap(a, b) or not _places(a) & _places(b)


@pytest.mark.parametrize("shape", [(1, S, G, D), (N, 1, G, D), (N, S, 1, D), (N, S, G, 1)])
def test_an_expanded_tensor_overlaps_itself(shape: tuple[int, ...]) -> None:
    """All steps along an axis lead to the same place."""
    assert overlaps_itself(_buffer(*shape).expand(SHAPE))


def test_an_axis_of_one_step_has_any_stride() -> None:
    """Nobody takes a step along it."""
    assert not overlaps_itself(torch.zeros(16).as_strided((1, 2, 2, 4), (0, 8, 4, 1)))
    assert not overlaps_itself(torch.zeros(64).as_strided((1, 2, 2, 4), (0, 16, 4, 1)))


def test_meta_tensors_have_no_memory() -> None:
    """Their addresses are all 0."""
    assert not overlap(torch.empty(SHAPE, device="meta"), torch.empty(SHAPE, device="meta"))
