"""Problems as JSON: versioned, validated field by field, never evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, get_args

from verification.problem import Numbers, Problem, Special
from verification.problem.formats import DTYPES, FORMATS
from verification.problem.misuse import MISUSES
from verification.problem.problem import CacheLayout, CausalAlignment, Layout, Phase, Poison, ScoreFill, ValueFill
from verification.problem.reading import (
    INT64,
    ProblemError,
    Reader,
    finite,
    flag,
    integer,
    one_of,
    optional,
    parsed,
    record,
    record_of,
    shortened,
    tuple_of,
)
from verification.problem.scoring import MASK_AXES, Scoring
from verification.problem.table import NUMBERED
from verification.problem.validate import check_problem

VERSION = 2
# Each function turns the fields of its version into those of the next. Whoever raises VERSION adds one here.
_RENAMED_IN_2 = {"scores": "score_fill", "values": "value_fill"}
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda data: {_RENAMED_IN_2.get(name, name): value for name, value in data.items()},
}


def to_json(problem: Problem) -> str:
    """Return one line of JSON. Fields at their default are left out, so that a small problem has a short line."""
    return json.dumps({"version": VERSION, **_changed(problem)})


def _changed(record: Problem | Scoring) -> dict[str, Any]:
    """Return the fields that are not at their default."""
    default = {field.name: field.default for field in fields(record)}
    data = {name: value for name, value in asdict(record).items() if getattr(record, name) != default[name]}
    return data | ({"scoring": _changed(record.scoring)} if "scoring" in data and isinstance(record, Problem) else {})


def from_json(text: str) -> Problem:
    """Return the problem that `to_json` wrote. Raises ProblemError."""
    return from_data(parsed(text))


def from_data(data: Any) -> Problem:
    """Return the problem that parsed JSON of this version or an older one describes. Raises ProblemError."""
    if not isinstance(data, dict):
        raise ProblemError(f"problem: must be an object, not {type(data).__name__}")
    version = data.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ProblemError(f"version: {shortened(version)} (this release reads versions 1 to {VERSION})")
    fields_ = {name: value for name, value in data.items() if name != "version"}
    for older in range(version, VERSION):
        fields_ = MIGRATIONS[older](fields_)
    return check_problem(record(Problem, _PROBLEM, "", fields_))


# Generous limits: `check_problem` bounds the products of sizes and lengths. An id may be any int64, since problems hold
# hostile ids on purpose.
_SIZE, _LENGTH, _ID = integer(1, 1 << 20), integer(0, 1 << 24), integer(-INT64, INT64 - 1)
_TENSOR = one_of(NUMBERED)
_NUMBERS: dict[str, Reader] = {"tensor": _TENSOR, "values": tuple_of(finite)}
_SPECIAL: dict[str, Reader] = {
    "tensor": _TENSOR,
    "row": _LENGTH,
    "head": _LENGTH,
    "dim": _LENGTH,
    "value": one_of(("nan", "inf", "-inf")),
}
_SCORING: dict[str, Reader] = {
    "scale": optional(finite),
    "softcap": finite,
    **dict.fromkeys(("alibi", "sinks", "blind_rows"), flag),
    "mask": one_of(("", "bool", "float")),
    "mask_axes": one_of(MASK_AXES),
    "window": _LENGTH,
}
_PROBLEM: dict[str, Reader] = {
    "phase": one_of(get_args(Phase)),
    "dtype": one_of(DTYPES),
    "num_heads": _SIZE,
    "num_kv_heads": _SIZE,
    "head_dim": _SIZE,
    "query_lens": tuple_of(_LENGTH),
    "key_lens": tuple_of(_LENGTH),
    "block_size": _SIZE,
    "num_blocks": _LENGTH,
    "slot_mapping": tuple_of(_ID),
    "block_tables": tuple_of(tuple_of(_ID)),
    "cache_dtype": one_of(("", *FORMATS)),
    "index_dtype": one_of(("int32", "int64")),
    "causal_alignment": one_of(get_args(CausalAlignment)),
    "on_invalid": one_of(("drop", "raise")),
    "layout": one_of(get_args(Layout)),
    "cache_layout": one_of(get_args(CacheLayout)),
    "score_fill": one_of(get_args(ScoreFill)),
    "value_fill": one_of(get_args(ValueFill)),
    "numbers": tuple_of(record_of(Numbers, _NUMBERS)),
    "specials": tuple_of(record_of(Special, _SPECIAL)),
    "poison": tuple_of(one_of(get_args(Poison)), length=2),
    "seed": integer(0, INT64 - 1),
    "misuse": one_of(("", *MISUSES)),
    "scoring": record_of(Scoring, _SCORING),
}
