"""Time and memory of a call. Contenders take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.benchmark import Timer

# The median of five rounds outlasts two that were disturbed.
ROUNDS = 5
# Calls between two events: so many of the shortest make a round long enough.
MOST_CALLS = 200
Call = Callable[[], object]


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def time_one_call(call: Call, device: str) -> float:
    """Return the seconds of a single call, with all that a first call compiles or allocates."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def count_rounds(estimate: float, min_seconds: float) -> int:
    """Return the number of rounds: fewer for a call that takes many times ``min_seconds``, but at least one."""
    return max(1, min(ROUNDS, round(4 * min_seconds / estimate)))


def time_one_round(call: Call, device: str, estimate: float, min_seconds: float) -> list[float]:
    """Return the seconds a call, measured once or more."""
    share = min_seconds / ROUNDS
    if device != "cuda":
        if estimate > min_seconds:  # the timer would call it four times at least
            return [time_one_call(call, device)]
        timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
        return list(timer.blocked_autorange(min_run_time=share).times)
    count = max(1, min(MOST_CALLS, round(share / estimate)))
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    call()  # who ran before has left other things near, and a queue that begins empty counts a launch more
    start.record()
    for _ in range(count):
        call()
    end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 / count]


def time_call(call: Call, device: str, min_seconds: float) -> float:
    """Return the median seconds of a call that runs alone."""
    time_one_call(call, device)
    estimate = time_one_call(call, device)
    times = [
        t
        for _ in range(count_rounds(estimate, min_seconds))
        for t in time_one_round(call, device, estimate, min_seconds)
    ]
    return median(times)


def measure_time_and_peak(call: Call, device: str) -> tuple[float, int | None]:
    """Return the seconds of one call, and the bytes that it takes beside what was there before, its output included.

    The bytes are None on a CPU, where they are unknown.
    """
    if device != "cuda":
        return time_one_call(call, device), None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = time_one_call(call, device)
    return seconds, torch.cuda.max_memory_allocated() - before


def count_free_bytes(device: str) -> int:
    """Return the bytes that could be allocated now."""
    if device == "cuda":
        kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + kept
    try:
        with open("/proc/meminfo") as lines:  # noqa: PTH123
            held = dict(line.split(":") for line in lines)
        return 1024 * int(held["MemAvailable"].split()[0])
    except (OSError, KeyError):
        return 2**63  # unknown: nothing is skipped
