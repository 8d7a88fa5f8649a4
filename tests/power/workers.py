"""Processes for a session of many small problems, one thread each."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

from verification.flags import settle


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool(workers: int | None) -> ProcessPoolExecutor:
    """One process a core unless told otherwise; spawned, since a forked one may not use CUDA."""
    return ProcessPoolExecutor(workers or cores(), multiprocessing.get_context("spawn"), initializer=settle)
