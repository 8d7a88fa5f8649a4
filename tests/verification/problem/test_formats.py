"""The limits of the formats, against torch's own and against the bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from verification.problem.formats import FORMATS, Format

ALL = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)


@ALL
def test_limits_are_those_of_torch(fmt: Format) -> None:
    """Largest, smallest normal and unit roundoff, as torch.finfo has them."""
    info = torch.finfo(fmt.torch)
    assert (fmt.largest, fmt.smallest_normal, fmt.unit) == (info.max, info.smallest_normal, info.eps / 2)


@ALL
def test_smallest_subnormal_has_one_bit(fmt: Format) -> None:
    """The bit pattern 1."""
    assert float(np.array(1, f"u{fmt.numpy.itemsize}").view(fmt.numpy)) == fmt.smallest_subnormal > 0


@ALL
def test_numpy_and_torch_types_are_the_same_format(fmt: Format) -> None:
    """Both hold 1 + 2u and lose 1 + u/2, in as many bytes."""
    assert fmt.numpy.itemsize == fmt.torch.itemsize
    for x, kept in ((1 + 2 * fmt.unit, True), (1 + fmt.unit / 2, fmt.unit < 2.0**-52)):
        assert (float(np.array(x).astype(fmt.numpy)) == x) is kept
        assert (torch.tensor(x, dtype=torch.float64).to(fmt.torch).item() == x) is kept


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_overflow_is_where_rounding_reaches_infinity(name: str) -> None:
    """The number below still rounds to the largest."""
    fmt = FORMATS[name]
    a_little_less = fmt.overflow - 2.0 ** (fmt.max_exponent - fmt.precision - 4)
    with np.errstate(over="ignore"):
        at, below = np.array([fmt.overflow, a_little_less]).astype(fmt.numpy).astype(float)
    assert at == np.inf
    assert below == fmt.largest


def test_float64_overflows_only_at_infinity() -> None:
    """A float cannot hold the number between the largest and infinity."""
    assert FORMATS["float64"].overflow == float("inf")
