"""A pool of processes for a session of many small problems, one thread each."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from properties.run.session import cores
from verification.backends.flags import settle


def open_pool(workers: int | None) -> ProcessPoolExecutor:
    """Open a pool of one process a core, unless told otherwise.

    Processes are spawned, since a forked one may not use CUDA.
    """
    return ProcessPoolExecutor(workers or cores(), multiprocessing.get_context("spawn"), initializer=settle)
