"""Sizes of problems, tiny or as large as real ones, and the labels that only large ones have."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from verification.problem import Problem
from verification.problem.problem import Phase

SIZES = ("tiny", "kernel", "engine")
# Tiles of kernels, and what they split by.
TILES = (16, 32, 64, 128, 256, 512)
# Most multiply-adds, ``H * Lk * max(Lq, D)`` of all sequences, and most sequences of a tiny problem; the same of one as
# large as a kernel's own tests.
_TINY, _KERNEL = (60_000, 3), (2**21, 65)


def size_of(problem: Problem) -> str:
    """Return "tiny", "kernel" or "engine": how large the problem is."""
    lengths = zip(problem.query_lens, problem.key_lens, strict=True)
    work = problem.num_heads * sum(keys * max(queries, problem.head_dim) for queries, keys in lengths)
    for name, (most, sequences) in (("tiny", _TINY), ("kernel", _KERNEL)):
        if work <= most and problem.num_sequences <= sequences:
            return name
    return "engine"


def _beside(tile: int) -> Callable[[Problem], bool]:
    return lambda problem: any(abs(keys - tile) <= 1 for keys in problem.key_lens)


def _has_id_past(problem: Problem, least: int) -> bool:
    return any(least < block < problem.num_blocks for row in problem.block_tables for block in row)


# Edges of large problems.
EDGES: dict[str, Callable[[Problem], bool]] = {
    "kernel": lambda problem: size_of(problem) == "kernel",
    "engine": lambda problem: size_of(problem) == "engine",
    "> 7 sequences": lambda problem: problem.num_sequences > 7,
    "> 64 sequences": lambda problem: problem.num_sequences > 64,
    "unequal lengths": lambda problem: len(set(problem.key_lens)) > 1,
    "> 132 heads of sequences": lambda problem: problem.num_sequences * problem.num_heads > 132,
    "head_dim > 128": lambda problem: problem.head_dim > 128,
    **{f"keys beside {tile}": _beside(tile) for tile in TILES},
    "> 512 keys": lambda problem: max(problem.key_lens, default=0) > 512,
    "> 1024 keys": lambda problem: max(problem.key_lens, default=0) > 1024,
    "> 15 queries": lambda problem: max(problem.query_lens, default=0) > 15,
    "> 1024 columns": lambda problem: problem.table_width > 1024,
    "ids > 65535": lambda problem: _has_id_past(problem, 2**16 - 1),
}
_OF_QUERIES, _OF_TABLES = {"> 15 queries"}, {"> 1024 columns", "ids > 65535"}
_NOT_IN = {"prefill": _OF_TABLES, "decode": _OF_QUERIES, "chunked": set()}
LARGE = tuple(f"{phase}, {edge}" for phase in get_args(Phase) for edge in EDGES if edge not in _NOT_IN[phase])


def large_labels(problem: Problem) -> set[str]:
    """Return the labels of a large problem, none for a tiny one."""
    if size_of(problem) == "tiny":
        return set()
    return {f"{problem.phase}, {edge}" for edge, lies_on in EDGES.items() if lies_on(problem)}
