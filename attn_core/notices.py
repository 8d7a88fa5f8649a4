"""Warnings that cost one device-to-host transfer a forward.

A notice is a number, or a number for each sequence, that is measured where the tensors live and kept there.
`one_transfer` reads all notices at once when the forward ends. Outside of it a notice is read and logged at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from math import isfinite

import torch
from torch import Tensor

# The flowchart's limit for queries, keys, scores and outputs; float16 ends at 65504.
RANGE_LIMIT = 1e4
RANGE_LOG = logging.getLogger("attn_core.numeric_range")
INDEX_LOG = logging.getLogger("attn_core.invalid_index")

_Notice = tuple[Sequence[Tensor], Callable[..., None]]
_PENDING: ContextVar[list[_Notice] | None] = ContextVar("pending_notices", default=None)


def check_numeric_range(x: Tensor, name: str) -> Tensor:
    """Warn if ``max > 1e4``, ``min < -1e4`` or ``x`` holds NaN or Inf; return ``x``. An empty tensor is normal.

    The logger is ``attn_core.numeric_range``. The record has ``tensor``, ``max``, ``min`` (NaN if ``x`` holds one),
    ``limit`` and ``nonfinite``.
    """
    if x.numel() and ranges_are_watched():
        _notify(torch.aminmax(x), lambda low, high: _log_range(name, low, high))
    return x


def report_dropped(name: str, dropped: Tensor, limit: int) -> None:
    """Warn if the count ``dropped`` is not 0: indices of ``name`` outside ``[0, limit)`` were left out.

    The logger is ``attn_core.invalid_index``. The record has ``tensor``, ``dropped`` and ``limit``.
    """
    if INDEX_LOG.isEnabledFor(logging.WARNING):
        _notify((dropped,), lambda count: _log_dropped(name, int(count), limit))


def ranges_are_watched() -> bool:
    """Return True if a warning about a range would be logged."""
    return RANGE_LOG.isEnabledFor(logging.WARNING)


def check_extremes(names: Sequence[str], low: Tensor, high: Tensor) -> None:
    """Warn as `check_numeric_range` does, for many tensors by their extremes, one each; an empty tensor has 0."""
    if low.numel() and ranges_are_watched():
        _notify((low, high), lambda *each: _log_all(_log_range, names, *each))


def report_each_dropped(names: Sequence[str], dropped: Tensor, limit: int) -> None:
    """Warn as `report_dropped` does, for each count."""
    if INDEX_LOG.isEnabledFor(logging.WARNING):
        _notify((dropped,), lambda counts: _log_all(lambda name, n: _log_dropped(name, int(n), limit), names, counts))


@contextmanager
def one_transfer() -> Iterator[None]:
    """Hold back every notice of a ``with`` block, then read all of them in one transfer and log them in order."""
    pending: list[_Notice] = []
    token = _PENDING.set(pending)
    try:
        yield
    finally:
        _PENDING.reset(token)
    _emit(pending)


def _notify(measured: Sequence[Tensor], log: Callable[..., None]) -> None:
    """Keep a notice for the end of `one_transfer`, or log it now outside of one."""
    pending = _PENDING.get()
    if pending is None:
        _emit([(measured, log)])
    else:
        pending.append((measured, log))


def _emit(notices: list[_Notice]) -> None:
    """Read the numbers of all notices in one transfer and log them."""
    if not notices:
        return
    fetched = _fetch([x for measured, _ in notices for x in measured if x.device.type != "cpu"])

    def on_host(x: Tensor) -> float | list[float]:
        if x.device.type == "cpu":
            return x.tolist()
        numbers = list(islice(fetched[x.dtype], x.numel()))
        return numbers if x.dim() else numbers[0]

    for measured, log in notices:
        log(*map(on_host, measured))


def _fetch(remote: Sequence[Tensor]) -> dict[torch.dtype, Iterator[float]]:
    """Return the numbers of all tensors, in order, by their dtype.

    Tensors of a dtype are joined before they are widened, which takes one kernel instead of one for each tensor.
    """
    if not remote:
        return {}
    parts = {
        dtype: [x.flatten() for x in remote if x.dtype == dtype] for dtype in dict.fromkeys(x.dtype for x in remote)
    }
    # float64 holds every float16..float64 extreme and every count below 2^53 exactly.
    joined = [torch.cat(same).to(torch.float64) for same in parts.values()]
    numbers = iter(torch.cat(joined).tolist())
    return {dtype: iter(list(islice(numbers, len(x)))) for dtype, x in zip(parts, joined, strict=True)}


def _log_all(log: Callable[..., None], names: Sequence[str], *measured: Sequence[float]) -> None:
    for each in zip(names, *measured, strict=True):
        log(*each)


def _log_range(name: str, low: float, high: float) -> None:
    nonfinite = not (isfinite(low) and isfinite(high))
    if nonfinite or high > RANGE_LIMIT or low < -RANGE_LIMIT:
        RANGE_LOG.warning(
            "numeric overflow in %s: max %g, min %g, limit +-%g",
            name,
            high,
            low,
            RANGE_LIMIT,
            extra={"tensor": name, "max": high, "min": low, "limit": RANGE_LIMIT, "nonfinite": nonfinite},
        )


def _log_dropped(name: str, dropped: int, limit: int) -> None:
    if dropped:
        INDEX_LOG.warning(
            "%s: %d left out, not in [0, %d)",
            name,
            dropped,
            limit,
            extra={"tensor": name, "dropped": dropped, "limit": limit},
        )
