"""The fields of a `Contract` as an author may give them: types for type checkers, and checks when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Literal, TypedDict, get_args

from verification.problem.declarations import Check, flag, nearest, one_of, set_of, some, told, tuple_of, whole
from verification.problem.formats import DTYPES
from verification.problem.labels import NAMES
from verification.problem.labels_behind import LABELS_BEHIND
from verification.problem.misuse import MISUSES
from verification.problem.problem import CausalAlignment, Phase
from verification.problem.scoring import FEATURES

Blind = Literal["zeros", "nan", "mean", "undefined"]
Sizes = tuple[int, int, int, int]
Names = AbstractSet[str] | list[str] | tuple[str, ...]
# Differences between phases as a contract stores them: each phase that differs, with its fields and their values.
Differences = tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]

PHASES: tuple[str, ...] = get_args(Phase)
# The arguments of a call that a misuse can spoil, so that a refusal can be promised of each.
ARGUMENTS = tuple(dict.fromkeys(misuse.argument for misuse in MISUSES.values()))
# The tensors that a call may have to warn of; those of a sequence have its number behind their name.
WATCHED = (
    *("prefill_q_seq_", "prefill_k_seq_", "prefill_attn_", "decode_q", "decode_k_history_"),
    *("attention_output", "slot_mapping", "block_tables["),
)


class Differing(TypedDict, total=False):
    """Fields of a contract that may differ from phase to phase."""

    bitwise: Names
    refuses: bool | Names
    range_events: bool
    nonfinite: bool
    head_dims: AbstractSet[int] | list[int] | tuple[int, ...]
    longest: int
    compiled_sizes: AbstractSet[Sizes] | list[Sizes] | tuple[Sizes, ...]
    uncomputed: Names
    alignments: Names
    scoring: Names
    blind: Blind
    undefined: Names


class Promises(Differing, total=False):
    """Fields of a contract that have a default: all but its dtypes."""

    phases: Names
    dense_batches: bool
    by_phase: Mapping[str, Differing]


def _check_law(field: str, value: Any) -> str:
    """Return a name. Laws are not known in this package: `properties.laws.claims` checks that there is such a law."""
    if not isinstance(value, str):
        raise TypeError(told(field, value, "be the name of a law"))
    if not value:
        raise ValueError(told(field, value, "be the name of a law"))
    return value


def _check_refuses(field: str, value: Any) -> bool | frozenset[str]:
    """Return True, False, or the arguments whose bad values are refused. An empty set becomes False."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, tuple | list | set | frozenset | str):
        raise TypeError(told(field, value, "be True, False or a set of arguments"))
    return set_of(one_of(ARGUMENTS), "arguments")(field, value) or False


def _check_sizes(field: str, value: Any) -> tuple[int, ...]:
    """Return sizes (H, G, D, S)."""
    rule = "be sizes (H, G, D, S), H a multiple of G"
    if not isinstance(value, tuple | list):
        raise TypeError(told(field, value, rule))
    if len(value) != 4:
        raise ValueError(told(field, value, rule))
    sizes = tuple(whole(1)(field, size) for size in value)
    if sizes[0] % sizes[1]:
        raise ValueError(told(field, value, rule))
    return sizes


def _check_uncomputed(field: str, value: Any) -> str:
    """Return the beginning of the name of a tensor that a call may have to warn of."""
    rule = f"be the beginning of one of {', '.join(map(repr, WATCHED))}"
    if not isinstance(value, str):
        raise TypeError(told(field, value, rule))
    if not value or not any(name.startswith(value) or value.startswith(name) for name in WATCHED):
        raise ValueError(told(field, value, rule + nearest(value, WATCHED)))
    return value


_ALIGNMENTS = get_args(CausalAlignment)
_LABEL = one_of((*NAMES, *LABELS_BEHIND), "be a label of verification.problem.labels, as 'slots: -1' is")
CHECKS: dict[str, Check] = {
    "dtypes": some(tuple_of(one_of(DTYPES), "names", DTYPES), "dtype"),
    "phases": some(tuple_of(one_of(PHASES), "names", PHASES), "phase"),
    "bitwise": set_of(_check_law, "names"),
    "refuses": _check_refuses,
    "range_events": flag,
    "nonfinite": flag,
    "head_dims": tuple_of(whole(1), "whole numbers"),
    "longest": whole(0),
    "compiled_sizes": tuple_of(_check_sizes, "sizes (H, G, D, S)"),
    "uncomputed": tuple_of(_check_uncomputed, "names"),
    "alignments": some(tuple_of(one_of(_ALIGNMENTS), "names", _ALIGNMENTS), "alignment"),
    "scoring": set_of(one_of(FEATURES), "names"),
    "dense_batches": flag,
    "blind": one_of(get_args(Blind)),
    "undefined": set_of(_LABEL, "labels"),
}


def check_differences(given: Any) -> dict[str, dict[str, Any]]:
    """Return the checked differences by phase and field, from mappings or from the pairs that a contract stores."""
    found = {}
    for phase, fields in _list_pairs("by_phase", given):
        one_of(PHASES)("by_phase", phase)
        found[phase] = {name: _check_difference(name, value, phase) for name, value in _list_pairs("by_phase", fields)}
    return found


def _check_difference(name: str, value: Any, phase: str) -> Any:
    one_of(tuple(Differing.__annotations__))("by_phase", name)
    return CHECKS[name](f"{name} in {phase}", value)


def _list_pairs(field: str, given: Any) -> list[tuple[Any, Any]]:
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    if not isinstance(pairs, tuple | list) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise TypeError(told(field, given, "be a mapping of phases to fields, as {'prefill': {'nonfinite': False}} is"))
    return list(pairs)
