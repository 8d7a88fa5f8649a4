"""Problems as JSON: versioned, validated field by field, never evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, get_args

from verification.formats import FORMATS
from verification.misuse import MISUSES
from verification.problem import CacheLayout, Layout, Poison, Problem, ScoreKind, Special, ValueKind

VERSION = 1
MAX_CHARACTERS = 4_000_000
_INT64 = 2**63


class ProblemError(ValueError):
    """This text is no problem; the message is one line and names the field."""


def to_json(problem: Problem) -> str:
    """One line of JSON. Fields at their default are left out, so that a small problem reads small."""
    default = {field.name: field.default for field in fields(Problem)}
    data = {name: value for name, value in asdict(problem).items() if value != default[name]}
    return json.dumps({"version": VERSION, **data})


def from_json(text: str) -> Problem:
    """The problem that `to_json` wrote. Raises ProblemError."""
    if len(text) > MAX_CHARACTERS:
        raise ProblemError(f"problem: {len(text)} characters, more than {MAX_CHARACTERS}")
    try:
        data = json.loads(text, object_pairs_hook=_unique_fields)
    except ProblemError:
        raise
    except (RecursionError, ValueError) as error:
        raise ProblemError(f"problem: not JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(data, dict):
        raise ProblemError(f"problem: must be an object, not {type(data).__name__}")
    version = data.pop("version", None)
    if version != VERSION or type(version) is not int:
        raise ProblemError(f"version: {_short(version)} (this release reads version {VERSION})")
    return check_problem(_record(Problem, "", data))


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ProblemError(f"{_short(twice)}: given twice")
    return data


def _record(cls: type[Any], where: str, data: Any) -> Any:
    if not isinstance(data, dict):
        raise ProblemError(f"{where}: must be an object, not {_short(data)}")
    readers = _READERS[cls]
    for name in data:
        if name not in readers:
            raise ProblemError(f"{where}{_short(name)}: unknown field")
    try:
        return cls(**{name: readers[name](f"{where}{name}", value) for name, value in data.items()})
    except TypeError as error:
        missing = str(error).split(": ")[-1]
        raise ProblemError(f"{where}{missing}: missing field") from None


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def read(where: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProblemError(f"{where}: {_short(value)} (must be an integer in [{low}, {high}])")
        return value

    return read


def _one_of(allowed: Sequence[str]) -> Callable[[str, Any], str]:
    def read(where: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ProblemError(f"{where}: {_short(value)} (must be one of {', '.join(map(repr, allowed))})")
        return value

    return read


def _tuple_of(read_item: Callable[[str, Any], Any], length: int | None = None) -> Callable[[str, Any], tuple[Any, ...]]:
    def read(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise ProblemError(f"{where}: {_short(value)} (must be a list{f' of {length}' if length else ''})")
        return tuple(read_item(f"{where}[{i}]", item) for i, item in enumerate(value))

    return read


def _short(value: Any) -> str:
    """A hostile value must not turn a one-line error into a page, nor raise by being printed."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


_SIZE, _LENGTH, _ID = _integer(1, 1 << 20), _integer(0, 1 << 24), _integer(-_INT64, _INT64 - 1)
_READERS: dict[type[Any], dict[str, Callable[[str, Any], Any]]] = {
    Special: {
        "tensor": _one_of(("q", "k", "v", "k_cache", "v_cache")),
        "row": _LENGTH,
        "head": _LENGTH,
        "dim": _LENGTH,
        "value": _one_of(("nan", "inf", "-inf")),
    },
    Problem: {
        "phase": _one_of(("prefill", "decode")),
        "dtype": _one_of(tuple(FORMATS)),
        "num_heads": _SIZE,
        "num_kv_heads": _SIZE,
        "head_dim": _SIZE,
        "query_lens": _tuple_of(_LENGTH),
        "key_lens": _tuple_of(_LENGTH),
        "block_size": _SIZE,
        "num_blocks": _LENGTH,
        "slot_mapping": _tuple_of(_ID),
        "block_tables": _tuple_of(_tuple_of(_ID)),
        "cache_dtype": _one_of(("", *FORMATS)),
        "index_dtype": _one_of(("int32", "int64")),
        "causal_alignment": _one_of(("top_left", "bottom_right")),
        "on_invalid": _one_of(("drop", "raise")),
        "layout": _one_of(get_args(Layout)),
        "cache_layout": _one_of(get_args(CacheLayout)),
        "scores": _one_of(get_args(ScoreKind)),
        "values": _one_of(get_args(ValueKind)),
        "specials": _tuple_of(lambda where, value: _record(Special, f"{where}.", value)),
        "poison": _tuple_of(_one_of(get_args(Poison)), length=2),
        "seed": _integer(0, _INT64 - 1),
        "misuse": _one_of(("", *MISUSES)),
    },
}


def check_problem(problem: Problem) -> Problem:
    """What no single field can know; raises ProblemError."""

    def require(holds: bool, field: str, rule: str) -> None:
        if not holds:
            raise ProblemError(f"{field}: {_short(getattr(problem, field))} (must {rule})")

    sequences, has_cache = len(problem.query_lens), problem.num_blocks > 0
    decode = problem.phase == "decode"
    require(problem.num_heads % problem.num_kv_heads == 0, "num_heads", "be a multiple of num_kv_heads")
    require(len(problem.key_lens) == sequences, "key_lens", f"have {sequences} entries, as query_lens")
    require(not decode or set(problem.query_lens) <= {1}, "query_lens", "be 1 each in a decode")
    require(not decode or has_cache, "num_blocks", "be positive in a decode")
    slots = problem.num_new_keys if has_cache else 0
    require(len(problem.slot_mapping) == slots, "slot_mapping", f"have {slots} entries, one a new key in a cache")
    require(len(problem.block_tables) == sequences * decode, "block_tables", "have a row a sequence in a decode")
    require(len({len(row) for row in problem.block_tables}) <= 1, "block_tables", "have rows of one length")
    low, high = (-(2**31), 2**31) if problem.index_dtype == "int32" else (-_INT64, _INT64)
    require(all(low <= slot < high for slot in problem.slot_mapping), "slot_mapping", f"fit {problem.index_dtype}")
    ids = (block for row in problem.block_tables for block in row)
    require(all(low <= block < high for block in ids), "block_tables", f"fit {problem.index_dtype}")
    elements = (problem.num_slots + problem.num_queries + problem.num_new_keys) * problem.head_dim * problem.num_heads
    require(elements <= 1 << 30, "num_blocks", "keep the tensors below 2^30 elements")
    pairs = sum(q * k for q, k in zip(problem.query_lens, problem.key_lens, strict=True)) * problem.num_heads
    require(pairs <= 1 << 30, "query_lens", "keep the scores below 2^30 elements")
    if problem.misuse:
        has_tokens = bool(problem.num_queries and problem.num_new_keys)
        applies = MISUSES[problem.misuse].applies(problem.phase, has_tokens, has_cache, problem.on_invalid)
        require(applies, "misuse", "be one for this phase, with tokens, a cache and on_invalid where it needs them")
    rows = {"q": problem.num_queries, "k": slots or problem.num_new_keys, "k_cache": problem.num_slots}
    for special in problem.specials:
        heads = problem.num_heads if special.tensor == "q" else problem.num_kv_heads
        held = special.row < rows[special.tensor.replace("v", "k", 1)] and special.head < heads
        require(held and special.dim < problem.head_dim, "specials", "lie inside their tensors")
    return problem
