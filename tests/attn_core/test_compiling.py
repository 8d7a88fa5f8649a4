"""What is compiled for, and what is not."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from attn_core.compiling import drop_storage_offset, mark_varying, opaque, pad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int32])
def test_where_a_storage_begins_is_not_compiled_for(dtype: torch.dtype) -> None:
    """The same memory, looked at from its first number."""
    x = torch.arange(24).to(dtype).view(4, 6)[1:]
    start = drop_storage_offset(x)
    assert (x.storage_offset(), start.storage_offset()) == (6, 0)
    assert (start.data_ptr(), start.stride()) == (x.data_ptr(), x.stride())
    start[0, 0] = 99
    assert x[0, 0] == 99
    assert not mark_varying(x, 0).storage_offset()
    assert not pad(x, 3).storage_offset()


def test_what_begins_there_stays_what_it_is() -> None:
    """Nothing is made of it."""
    x = torch.zeros(3)
    assert drop_storage_offset(x) is x


def test_a_gradient_is_no_obstacle() -> None:
    """Nor recorded."""
    x = torch.zeros(4, requires_grad=True)[1:]
    assert not drop_storage_offset(x).requires_grad


def test_padding() -> None:
    """Behind, and to the right."""
    x = torch.ones(2, 3)
    assert pad(x, 4, value=-1).tolist() == [[1] * 3, [1] * 3, [-1] * 3, [-1] * 3]
    assert pad(x, 2, 4, value=-1).tolist() == [[1, 1, 1, -1]] * 2
    assert pad(x, 2) is x


def test_a_call_is_not_looked_into() -> None:
    """Compiled code around it stays compiled, whatever number the call depends on."""
    numbers = iter(range(2, 30))

    @opaque
    def depends_on_a_number(x: torch.Tensor) -> torch.Tensor:
        return x * next(numbers)

    counter = CompileCounter()
    around = torch.compile(lambda x: depends_on_a_number(x + 1) - 1, backend=counter)
    for number in range(2, 30):
        assert around(torch.ones(3)).tolist() == [2 * number - 1] * 3
    assert counter.frame_count == 2  # before the call, and after it
