"""Warnings as data: what is logged, when, and what it costs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from attn_core.notices import INDEX_LOG, RANGE_LOG, check_numeric_range, one_transfer, report_dropped
from tests.attn_core.calls import DTYPES
from tests.attn_core.remote import Remote, remote
from verification.backends.captured_events import captured_events

# The largest number that is not above 1e4, and the next one.
AROUND_LIMIT = {
    torch.float16: (10000.0, 10008.0),
    torch.bfloat16: (9984.0, 10048.0),
    torch.float32: (10000.0, 10000.0009765625),
    torch.float64: (10000.0, math.nextafter(10000.0, math.inf)),
}


class CountedOps(TorchDispatchMode):
    """How many tensor operations ran inside."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def silenced(logger: logging.Logger, how: str) -> Iterator[None]:
    """Three ways of not wanting a logger's warnings."""
    level = logger.level
    try:
        match how:
            case "disabled":
                logger.disabled = True
            case "level":
                logger.setLevel(logging.ERROR)
            case "globally":
                logging.disable(logging.WARNING)
        yield
    finally:
        logger.disabled = False
        logger.setLevel(level)
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_limit_itself_is_normal_and_the_next_number_is_not(dtype: torch.dtype, sign: float) -> None:
    """Strictly: max > 1e4 or min < -1e4."""
    inside, outside = AROUND_LIMIT[dtype]
    with captured_events() as events:
        check_numeric_range(torch.tensor([0.0, sign * inside], dtype=dtype), "inside")
        check_numeric_range(torch.tensor([0.0, sign * outside], dtype=dtype), "outside")
    (event,) = events
    assert (event.tensor, event.nonfinite) == ("outside", False)
    assert (event.max, event.min) == ((outside, 0.0) if sign > 0 else (0.0, -outside))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_inf_are_events(dtype: torch.dtype, bad: float) -> None:
    """A plain comparison is blind to NaN."""
    with captured_events() as events:
        check_numeric_range(torch.tensor([1.0, bad, 2.0], dtype=dtype), "x")
    (event,) = events
    assert event.nonfinite is True
    assert (str(event.max), str(event.min)) == {
        "nan": ("nan", "nan"),
        "inf": ("inf", "1.0"),
        "-inf": ("2.0", "-inf"),
    }[str(bad)]


def test_the_record_carries_data(caplog: pytest.LogCaptureFixture) -> None:
    """Logger, level, tensor, max, min, limit, nonfinite."""
    check_numeric_range(torch.tensor([[20000.0], [-3.0]]), "scores")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("attn_core.numeric_range", logging.WARNING)
    assert (record.tensor, record.max, record.min) == ("scores", 20000.0, -3.0)
    assert (record.limit, record.nonfinite) == (1e4, False)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_an_empty_tensor_is_normal(shape: tuple[int, ...]) -> None:
    """It has no maximum to ask for."""
    with captured_events() as events:
        check_numeric_range(torch.empty(shape), "x")
    assert events == []


@pytest.mark.parametrize("x", [torch.zeros(0), torch.ones(2), torch.full((2,), 1e5)])
def test_it_returns_its_input(x: Tensor) -> None:
    """Itself, in range or not."""
    with captured_events():
        assert check_numeric_range(x, "x") is x


@pytest.mark.parametrize("how", ["disabled", "level", "globally"])
def test_a_silenced_logger_computes_nothing(how: str) -> None:
    """No statistics are taken for a warning that nobody wants."""
    x = torch.full((2,), 1e5)
    with silenced(RANGE_LOG, how), CountedOps() as ops:
        assert check_numeric_range(x, "x") is x
    assert ops.count == 0


@pytest.mark.parametrize("how", ["disabled", "level", "globally"])
def test_a_silenced_logger_fetches_no_count(how: str) -> None:
    """The count of dropped slots stays on its device."""
    before, count = Remote.transfers, remote(torch.tensor(3))
    with silenced(INDEX_LOG, how), CountedOps() as ops:
        report_dropped("slot_mapping", count, 8)
    assert (ops.count, Remote.transfers) == (0, before)


def test_nothing_dropped_is_no_event() -> None:
    """A count of 0 is silent; the record of any other has tensor, dropped and limit."""
    with captured_events() as events:
        report_dropped("a", torch.tensor(0), 8)
        report_dropped("b", torch.tensor(2), 8)
    assert [(event.tensor, event.dropped) for event in events] == [("b", 2)]


def _warn_of_three(place: Callable[[Tensor], Tensor]) -> None:
    check_numeric_range(place(torch.tensor([1e5, -7.0])), "first")
    report_dropped("second", place(torch.tensor(2**53 - 1)), 8)
    check_numeric_range(place(torch.tensor([math.nan], dtype=torch.float16)), "third")


def test_a_forwards_warnings_cost_one_transfer() -> None:
    """All at the end, in order, with every value exact."""
    before = Remote.transfers
    with captured_events() as events:
        with one_transfer():
            _warn_of_three(remote)
            assert (events, Remote.transfers) == ([], before)
        assert Remote.transfers == before + 1
    assert [event.tensor for event in events] == ["first", "second", "third"]
    assert (events[0].max, events[0].min, events[1].dropped) == (1e5, -7.0, 2**53 - 1)


def test_host_and_remote_warnings_are_told_apart() -> None:
    """Mixed devices: each warning gets its own numbers."""
    places = iter((remote, torch.Tensor.clone, remote))
    with captured_events() as events, one_transfer():
        _warn_of_three(lambda x: next(places)(x))
    assert [(event.tensor, event.max, event.dropped) for event in events[:2]] == [
        ("first", 1e5, None),
        ("second", None, 2**53 - 1),
    ]


def test_outside_of_a_forward_a_warning_is_immediate() -> None:
    """Nobody ends a forward that has not begun."""
    with captured_events() as events:
        check_numeric_range(torch.tensor([1e5]), "x")
        assert len(events) == 1


def _fail_in_a_forward() -> None:
    with one_transfer():
        check_numeric_range(torch.tensor([1e5]), "failed")
        raise KeyError("engine")


def test_a_failed_forward_leaves_nothing_behind() -> None:
    """The next warning is immediate again, and is not logged with the failed forward's."""
    with captured_events() as events:
        with pytest.raises(KeyError, match="engine"):
            _fail_in_a_forward()
        before = len(events)
        check_numeric_range(torch.tensor([1e5]), "next")
    assert [event.tensor for event in events[before:]] == ["next"]
