"""Tables of the tensors of a call and of the outputs of an answer. All code that handles them by name reads these rows.

A new tensor is a row and a field of `ByName` here, its numbers in `verification.tensors.inputs`, and its mathematics in
`verification.oracle`. A new output is a row here and its mathematics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from verification.problem.formats import FORMATS
from verification.problem.problem import Problem

X = TypeVar("X")
Y = TypeVar("Y")
Role = Literal["query", "key", "value", "cache", "scale", "index", "mask", "gradient"]
#: The format of a tensor: ``"input"`` is `Problem.dtype`, ``"cache"`` is `Problem.cache_format`, ``"index"`` is
#: `Problem.index_dtype`; ``"mask"`` is boolean or the input's format.
RowFormat = Literal["input", "cache", "index", "mask"]


@dataclass(frozen=True)
class TensorRow:
    """A tensor that a call may be given."""

    name: str
    """Name of the field in `Inputs` and `Tensors`, and of the parameter in a script."""
    axes: tuple[str, ...]
    """Names of its axes, outermost first: keys of `LENGTHS`."""
    format: RowFormat
    """Format in which its elements are stored."""
    role: Role
    """Its part in the formula of attention."""
    meaning: str
    """One line for the reference page."""
    given: Callable[[Problem], bool]
    """Function that returns True for problems whose calls are given the tensor."""
    absent: str
    """Says in words when the tensor is None; empty where it is always given."""
    stored_from: str = ""
    """For a cache, the tensor whose rows the call stores in it; empty for all others."""

    @property
    def is_value(self) -> bool:
        """Return True for values and their cache: around them lies the second poison of `Problem.poison`."""
        return self.role == "value" or self.stored_from == "v"

    def shape(self, problem: Problem) -> tuple[int, ...]:
        """Return its shape in a call of ``problem``."""
        shape = tuple(LENGTHS[axis](problem) for axis in self.axes)
        return problem.scoring.mask_shape(*shape) if self.format == "mask" else shape

    def dtype(self, problem: Problem) -> np.dtype[Any]:
        """Return NumPy's type for its elements."""
        if self.format == "index":
            return np.dtype(problem.index_dtype)
        if self.format == "mask" and problem.scoring.mask == "bool":
            return np.dtype(np.bool_)
        return FORMATS[problem.cache_format if self.format == "cache" else problem.dtype].numpy


@dataclass(frozen=True)
class OutputRow:
    """An output that a backend may return."""

    name: str
    """Name under which it is returned."""
    axes: tuple[str, ...]
    """Names of its axes, outermost first: keys of `LENGTHS`. The first is ``"T"``: one row a query."""
    format: str
    """``"input"`` for `Problem.dtype`, or a name of `FORMATS`."""
    meaning: str
    """One line for the reference page."""

    def shape(self, problem: Problem) -> tuple[int, ...]:
        """Return its shape in an answer to ``problem``."""
        return tuple(LENGTHS[axis](problem) for axis in self.axes)

    def dtype(self, problem: Problem) -> np.dtype[Any]:
        """Return NumPy's type for its elements."""
        return FORMATS[problem.dtype if self.format == "input" else self.format].numpy


#: Functions that return the length of an axis, by its name. ``Lq`` and ``Lk``, a mask's, suppose sequences of equal
#: lengths. Each is a function of its own, since shapes are asked for many times and have few axes.
LENGTHS: dict[str, Callable[[Problem], int]] = {
    "T": attrgetter("num_queries"),
    "T_k": attrgetter("num_new_keys"),
    "H": attrgetter("num_heads"),
    "G": attrgetter("num_kv_heads"),
    "D": attrgetter("head_dim"),
    "N": attrgetter("num_blocks"),
    "S": attrgetter("block_size"),
    "M": attrgetter("table_width"),
    "B": attrgetter("num_sequences"),
    "B + 1": lambda problem: problem.num_sequences + 1,
    "Lq": lambda problem: max(problem.query_lens, default=0),
    "Lk": lambda problem: max(problem.key_lens, default=0),
}

#: Name of a position on each axis, as a person calls it.
AXIS_NAMES = {"T": "token", "T_k": "token", "H": "head", "G": "kv head", "D": "dim", "N": "block", "S": "offset"}


@dataclass(frozen=True, kw_only=True)
class ByName(Generic[X, Y]):
    """A field for each row of `TENSORS`: ``X`` is the type of tensors that every call has, ``Y`` that of the others."""

    q: X
    k: X
    v: X
    k_cache: Y
    v_cache: Y
    slot_mapping: Y
    cu_seqlens_q: Y
    cu_seqlens_k: Y
    context_lens: Y
    block_tables: Y
    mask: Y | None = None
    sinks: Y | None = None


def _always(_: Problem) -> bool:
    return True


def _has_cache(problem: Problem) -> bool:
    return problem.num_blocks > 0


def _reads_cache(problem: Problem) -> bool:
    return problem.reads_cache


def _is_prefill(problem: Problem) -> bool:
    return problem.phase == "prefill"


_NO_CACHE, _NOT_READ = "in a prefill without a cache", "in a prefill"
_ROWS = (
    TensorRow("q", ("T", "H", "D"), "input", "query", "Queries of all sequences, one after the other.", _always, ""),
    TensorRow("k", ("T_k", "G", "D"), "input", "key", "New keys, one after the other.", _always, ""),
    TensorRow("v", ("T_k", "G", "D"), "input", "value", "New values, one after the other.", _always, ""),
    TensorRow(
        "k_cache",
        ("N", "S", "G", "D"),
        "cache",
        "cache",
        "Keys in blocks of S tokens; the call writes new keys into it.",
        _has_cache,
        _NO_CACHE,
        "k",
    ),
    TensorRow(
        "v_cache",
        ("N", "S", "G", "D"),
        "cache",
        "cache",
        "Values in blocks of S tokens; the call writes new values into it.",
        _has_cache,
        _NO_CACHE,
        "v",
    ),
    TensorRow(
        "slot_mapping",
        ("T_k",),
        "index",
        "index",
        "Slot of each new token: slot s is block s // S at offset s % S; -1 and slots outside the cache store nothing.",
        _has_cache,
        _NO_CACHE,
    ),
    TensorRow(
        "cu_seqlens_q",
        ("B + 1",),
        "index",
        "index",
        "Where the queries of each sequence begin in q, and T at the end.",
        lambda problem: problem.phase != "decode",
        "in a decode, whose sequences have one query each",
    ),
    TensorRow(
        "cu_seqlens_k",
        ("B + 1",),
        "index",
        "index",
        "Where the keys of each sequence begin in k and v, and T_k at the end.",
        _is_prefill,
        "where keys are read from the cache",
    ),
    TensorRow(
        "context_lens",
        ("B",),
        "index",
        "index",
        "Tokens in the cache of each sequence, the new ones included.",
        _reads_cache,
        _NOT_READ,
    ),
    TensorRow(
        "block_tables",
        ("B", "M"),
        "index",
        "index",
        "Position t of a sequence is in block table[t // S] at offset t % S; ids outside of the cache hide tokens.",
        _reads_cache,
        _NOT_READ,
    ),
    TensorRow(
        "mask",
        ("B", "H", "Lq", "Lk"),
        "mask",
        "mask",
        "Shows a key where it is True, or is added to its score; any axis may be 1 long.",
        lambda problem: bool(problem.scoring.mask),
        "where `Scoring.mask` is empty",
    ),
    TensorRow(
        "sinks",
        ("H",),
        "input",
        "scale",
        "A logit for each head, which takes part in the softmax and has no value.",
        lambda problem: problem.scoring.sinks,
        "where `Scoring.sinks` is False",
    ),
)
TENSORS: dict[str, TensorRow] = {row.name: row for row in _ROWS}
OUTPUTS: dict[str, OutputRow] = {
    row.name: row for row in (OutputRow("out", ("T", "H", "D"), "input", "The weighted mean of the values."),)
}
#: Names of the tensors with a row for each token, for each slot, and of integers.
TOKENS = tuple(row.name for row in _ROWS if row.role in ("query", "key", "value"))
CACHES = tuple(row.name for row in _ROWS if row.role == "cache")
INDICES = tuple(row.name for row in _ROWS if row.role == "index")
#: Names of the tensors whose numbers a problem may spell out, or plant a NaN in.
NUMBERED = (*TOKENS, *CACHES)


def given_to(problem: Problem) -> tuple[str, ...]:
    """Return the names of the tensors that a call of ``problem`` is given."""
    return tuple(row.name for row in _ROWS if row.given(problem))
