"""Problems as JSON: versioned, validated field by field, never evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from sys import float_info
from typing import Any, get_args

from verification.formats import FORMATS
from verification.misuse import MISUSES
from verification.problem import CacheLayout, Layout, Numbers, Poison, Problem, ScoreKind, Special, ValueKind
from verification.valid import INT64, ProblemError, check_problem, shortened

VERSION = 1
MAX_CHARACTERS = 4_000_000
# From the fields of a version to those of the next: whoever raises VERSION says how older files are read.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def to_json(problem: Problem) -> str:
    """One line of JSON. Fields at their default are left out, so that a small problem reads small."""
    default = {field.name: field.default for field in fields(Problem)}
    data = {name: value for name, value in asdict(problem).items() if value != default[name]}
    return json.dumps({"version": VERSION, **data})


def from_json(text: str) -> Problem:
    """The problem that `to_json` wrote. Raises ProblemError."""
    return from_data(parsed(text))


def parsed(text: str) -> Any:
    """JSON as data, whatever it holds. Raises ProblemError."""
    if len(text) > MAX_CHARACTERS:
        raise ProblemError(f"problem: {len(text)} characters, more than {MAX_CHARACTERS}")
    try:
        return json.loads(text, object_pairs_hook=_unique_fields)
    except ProblemError:
        raise
    except (RecursionError, ValueError) as error:
        raise ProblemError(f"problem: not JSON ({str(error).splitlines()[0]})") from None


def from_data(data: Any) -> Problem:
    """A problem from parsed JSON, of this version or an older one. Raises ProblemError."""
    if not isinstance(data, dict):
        raise ProblemError(f"problem: must be an object, not {type(data).__name__}")
    version = data.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ProblemError(f"version: {shortened(version)} (this release reads versions 1 to {VERSION})")
    fields_ = {name: value for name, value in data.items() if name != "version"}
    for older in range(version, VERSION):
        fields_ = MIGRATIONS[older](fields_)
    return check_problem(_record(Problem, "", fields_))


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`, which keeps the last of two fields with one name."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ProblemError(f"{shortened(twice)}: given twice")
    return data


def _record(cls: type[Any], where: str, data: Any) -> Any:
    if not isinstance(data, dict):
        raise ProblemError(f"{where}: must be an object, not {shortened(data)}")
    readers = _READERS[cls]
    for name in data:
        if name not in readers:
            raise ProblemError(f"{where}{shortened(name)}: unknown field")
    try:
        return cls(**{name: readers[name](f"{where}{name}", value) for name, value in data.items()})
    except TypeError as error:
        missing = str(error).split(": ")[-1]
        raise ProblemError(f"{where}{missing}: missing field") from None


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def read(where: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProblemError(f"{where}: {shortened(value)} (must be an integer in [{low}, {high}])")
        return value

    return read


def _finite(where: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= float_info.max:
        raise ProblemError(f"{where}: {shortened(value)} (must be a finite number)")
    return float(value)


def _one_of(allowed: Sequence[str]) -> Callable[[str, Any], str]:
    def read(where: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ProblemError(f"{where}: {shortened(value)} (must be one of {', '.join(map(repr, allowed))})")
        return value

    return read


def _tuple_of(read_item: Callable[[str, Any], Any], length: int | None = None) -> Callable[[str, Any], tuple[Any, ...]]:
    def read(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise ProblemError(f"{where}: {shortened(value)} (must be a list{f' of {length}' if length else ''})")
        return tuple(read_item(f"{where}[{i}]", item) for i, item in enumerate(value))

    return read


_SIZE, _LENGTH, _ID = _integer(1, 1 << 20), _integer(0, 1 << 24), _integer(-INT64, INT64 - 1)
_TENSOR = _one_of(("q", "k", "v", "k_cache", "v_cache"))
_READERS: dict[type[Any], dict[str, Callable[[str, Any], Any]]] = {
    Numbers: {"tensor": _TENSOR, "values": _tuple_of(_finite)},
    Special: {
        "tensor": _TENSOR,
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
        "numbers": _tuple_of(lambda where, value: _record(Numbers, f"{where}.", value)),
        "specials": _tuple_of(lambda where, value: _record(Special, f"{where}.", value)),
        "poison": _tuple_of(_one_of(get_args(Poison)), length=2),
        "seed": _integer(0, INT64 - 1),
        "misuse": _one_of(("", *MISUSES)),
    },
}
