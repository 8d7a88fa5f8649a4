"""Hostile JSON: one line that names the field, whatever it holds. Nothing in it is ever evaluated."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from tests.verification.samples import DECODE, PREFILL
from verification.problem import Numbers, Problem, Special
from verification.problem.json_io import VERSION, ProblemError, from_json, to_json
from verification.problem.reading import MAX_CHARACTERS

SPECIAL = {"tensor": "q", "row": 0, "head": 0, "dim": 0, "value": "nan"}
DEEP = 100_000
NOT_A_STRING = (None, True, 5, 1.5, [], ["prefill"], {}, "", "nonsense", "__import__('os').system('false')", "a\nb")
NOT_AN_INTEGER = (None, True, False, 1.0, float("nan"), float("inf"), "1", "__import__('os')", [], [1], {}, 10**30)
NOT_A_LIST = (None, True, 5, 1.5, "ab", {}, {"0": 1}, "__import__('os')")
NOT_INTEGERS = tuple([item] for item in NOT_AN_INTEGER)
SIZES = ("num_heads", "num_kv_heads", "head_dim", "block_size")
INTEGERS = (*SIZES, "num_blocks", "seed")
CHOICES = ("phase", "dtype", "index_dtype", "causal_alignment", "on_invalid", "layout", "cache_layout")
STRINGS = (*CHOICES, "score_fill", "value_fill")
INTEGER_LISTS = ("query_lens", "key_lens", "slot_mapping")


WRONG_SCORINGS: list[dict[str, Any]] = [
    *({"scale": value} for value in ("1", True, [], float("nan"), float("inf"))),
    *({"softcap": value} for value in (None, -1.0, "1", float("nan"))),
    *({"window": value} for value in (None, -1, 1.5, True, 10**30)),
    *({"mask": value} for value in (None, "int", 1, True)),
    *({"mask_axes": value} for value in (None, "kq", "x", 1)),
    *({name: value} for name in ("alibi", "sinks") for value in (None, 1, "true")),
    {"slope": 1},
]


def data_of(problem: Problem, **changes: Any) -> dict[str, Any]:
    """Every field of a problem, spelled out."""
    return {"version": 1, **asdict(problem), **changes}


def refusal(text: str) -> str:
    """The message with which it is refused, which is one line of modest length."""
    with pytest.raises(ProblemError) as caught:
        from_json(text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 1200
    return message


def _wrong_values() -> list[Any]:
    """(field, value) for every field of a problem."""
    wrong: dict[str, tuple[Any, ...]] = dict.fromkeys(STRINGS, NOT_A_STRING)
    wrong |= {"cache_dtype": NOT_A_STRING[:7] + NOT_A_STRING[8:], "misuse": NOT_A_STRING[:7] + NOT_A_STRING[8:]}
    wrong |= dict.fromkeys(INTEGERS, (*NOT_AN_INTEGER, -1)) | dict.fromkeys(INTEGER_LISTS, NOT_A_LIST + NOT_INTEGERS)
    for name in SIZES:
        wrong[name] += (0,)
    wrong["block_tables"] = (*NOT_A_LIST, [1], *([item] for item in NOT_INTEGERS))
    wrong["poison"] = (*NOT_A_LIST, [], ["nan"], ["nan", "nan", "nan"], ["nan", 1], ["nan", "seven"], [None, None])
    wrong["specials"] = wrong["numbers"] = (*NOT_A_LIST, [1], ["q"], [[]], [None])
    wrong["scoring"] = (None, True, 1, "", [], [1], *WRONG_SCORINGS)
    assert set(wrong) == {field.name for field in fields(Problem)}
    return [pytest.param(name, value, id=f"{name}-{i}") for name in wrong for i, value in enumerate(wrong[name])]


@pytest.mark.parametrize(("field", "value"), _wrong_values())
def test_wrong_values_are_refused_by_field(field: str, value: Any) -> None:
    """Wrong types, booleans for integers, NaN, huge numbers, code in strings."""
    assert refusal(json.dumps(data_of(DECODE, **{field: value}))).startswith(field)


@pytest.mark.parametrize("field", [field.name for field in fields(Special)])
@pytest.mark.parametrize("value", [None, True, 1.5, -1, "nonsense", [], {}, 10**30])
def test_wrong_specials_are_refused_by_field(field: str, value: Any) -> None:
    """The path says which one."""
    specials = [SPECIAL, {**SPECIAL, field: value}]
    assert refusal(json.dumps(data_of(PREFILL, specials=specials))).startswith(f"specials[1].{field}")


@pytest.mark.parametrize("text", ["", "{", '{"version": 1', "[" * DEEP, '{"a":' * DEEP, "nul", "\x00", "1" * 5000, "'"])
def test_what_is_not_json_is_refused(text: str) -> None:
    """Truncated, nested a hundred thousand deep, a number of five thousand digits."""
    assert refusal(text).startswith("problem")


@pytest.mark.parametrize("text", ["[]", "null", "1", '"version"', "true", "[1, 2]", "NaN"])
def test_what_is_no_object_is_refused(text: str) -> None:
    """A problem is an object."""
    assert refusal(text).startswith("problem: must be an object")


def test_every_truncation_is_refused() -> None:
    """At every character."""
    text = to_json(DECODE)
    assert all(refusal(text[:end]) for end in range(len(text)))


@pytest.mark.parametrize("version", [0, VERSION + 1, True, False, "1", None, [1], {}, 1.5, 10**30, float("nan")])
def test_other_versions_are_refused(version: Any) -> None:
    """Only the integers from 1 on are versions, up to today's."""
    assert refusal(json.dumps(data_of(PREFILL, version=version))).startswith("version")


def test_a_missing_version_is_refused() -> None:
    """It is never assumed."""
    assert refusal(json.dumps(asdict(PREFILL))).startswith("version")


REQUIRED = ("phase", "dtype", "num_heads", "num_kv_heads", "head_dim", "query_lens", "key_lens")


@pytest.mark.parametrize("field", REQUIRED)
def test_missing_fields_are_refused(field: str) -> None:
    """By name."""
    data = data_of(PREFILL)
    del data[field]
    message = refusal(json.dumps(data))
    assert field in message
    assert "missing" in message


@pytest.mark.parametrize("field", SPECIAL)
def test_missing_fields_of_specials_are_refused(field: str) -> None:
    """By name, and by index."""
    special = {name: value for name, value in SPECIAL.items() if name != field}
    message = refusal(json.dumps(data_of(PREFILL, specials=[special])))
    assert message.startswith("specials[0].")
    assert field in message


@pytest.mark.parametrize("name", ["colour", "__class__", "", "num_heads ", "a\nb", "x" * 10_000, "\ud800"])
def test_unknown_fields_are_refused(name: str) -> None:
    """By name, however odd."""
    message = refusal(json.dumps(data_of(PREFILL, **{name: 1})))
    assert "unknown field" in message
    assert repr(name)[:40] in message
    assert "unknown field" in refusal(json.dumps(data_of(PREFILL, specials=[{**SPECIAL, name: 1}])))


def test_too_long_a_text_is_refused() -> None:
    """Before it is parsed."""
    assert refusal(" " * (MAX_CHARACTERS + 1)).startswith("problem")


def test_a_deep_value_is_refused_by_field() -> None:
    """Deep enough to break a naive repr, not the parser."""
    deep: Any = 1
    for _ in range(700):
        deep = [deep]
    assert refusal(json.dumps(data_of(PREFILL, layout=deep))).startswith("layout")


def test_code_stays_a_string() -> None:
    """It is quoted in the refusal, and not run."""
    assert "\"__import__('os')\"" in refusal(json.dumps(data_of(PREFILL, layout="__import__('os')")))


RAGGED = [[0, 1], [2]]
ACROSS_FIELDS = [
    (PREFILL, {"num_heads": 3, "num_kv_heads": 2}, "num_heads"),
    (PREFILL, {"key_lens": [5]}, "key_lens"),
    (PREFILL, {"slot_mapping": [0, 1, 2, 3]}, "slot_mapping"),
    (PREFILL, {"slot_mapping": []}, "slot_mapping"),
    (PREFILL, {"num_blocks": 0}, "slot_mapping"),
    (PREFILL, {"block_tables": [[0]]}, "block_tables"),
    (PREFILL, {"index_dtype": "int32", "slot_mapping": [0, 1, 2, 3, 2**31]}, "slot_mapping"),
    (PREFILL, {"index_dtype": "int32", "slot_mapping": [0, 1, 2, 3, -(2**31) - 1]}, "slot_mapping"),
    (PREFILL, {"num_blocks": 2**24, "block_size": 2**20}, "num_blocks"),
    (DECODE, {"query_lens": [1, 2]}, "query_lens"),
    (DECODE, {"num_blocks": 0, "slot_mapping": []}, "num_blocks"),
    (DECODE, {"slot_mapping": [0]}, "slot_mapping"),
    (DECODE, {"block_tables": RAGGED}, "block_tables"),
    (DECODE, {"block_tables": [[0, 1]]}, "block_tables"),
    (DECODE, {"index_dtype": "int32", "block_tables": [[0, 2**31], [0, 0]]}, "block_tables"),
    (DECODE, {"index_dtype": "int32", "block_tables": [[0, 0], [-(2**31) - 1, 0]]}, "block_tables"),
]


@pytest.mark.parametrize(("problem", "changes", "field"), ACROSS_FIELDS)
def test_fields_must_fit_together(problem: Problem, changes: dict[str, Any], field: str) -> None:
    """What no single field can know."""
    assert refusal(json.dumps(data_of(problem, **changes))).startswith(f"{field}: ")


OUTSIDE = [("q", 4, 0, 0), ("q", 0, 2, 0), ("q", 0, 0, 4), ("k", 5, 0, 0), ("v", 0, 1, 0), ("k_cache", 8, 0, 0)]


@pytest.mark.parametrize(("tensor", "row", "head", "dim"), [*OUTSIDE, ("v_cache", 0, 1, 0), ("v_cache", 0, 0, 4)])
def test_specials_lie_inside_their_tensors(tensor: str, row: int, head: int, dim: int) -> None:
    """One past the end of each axis is outside."""
    special = {"tensor": tensor, "row": row, "head": head, "dim": dim, "value": "inf"}
    assert refusal(json.dumps(data_of(PREFILL, specials=[special]))).startswith("specials")


def test_no_cache_no_special_in_it() -> None:
    """A prefill without a cache has no slot to plant into."""
    special = {**SPECIAL, "tensor": "k_cache"}
    changes = {"num_blocks": 0, "slot_mapping": [], "specials": [special]}
    assert refusal(json.dumps(data_of(PREFILL, **changes))).startswith("specials")


NOT_FINITE = (None, True, "1", [], {}, float("nan"), float("inf"), 10**400, "__import__('os')")


@pytest.mark.parametrize("value", NOT_FINITE, ids=repr)
def test_numbers_are_finite_numbers(value: Any) -> None:
    """Each named by its place."""
    data = data_of(PREFILL, numbers=[{"tensor": "q", "values": [0.0, value]}])
    assert refusal(json.dumps(data)).startswith("numbers[0].values[1]: ")


@pytest.mark.parametrize("tensor", ["q", "k", "v", "k_cache", "v_cache"])
def test_numbers_are_as_many_as_the_tensor_holds(tensor: Any) -> None:
    """One too few is not enough; of a cache, those that are seen count."""
    sizes = {"q": 2 * 2 * 4, "k": 2 * 4, "v": 2 * 4, "k_cache": 5 * 4, "v_cache": 5 * 4}
    whole, short = (
        to_json(replace(DECODE, numbers=(Numbers(tensor, (0.5,) * (sizes[tensor] - missing)),))) for missing in (0, 1)
    )
    assert from_json(whole).numbers[0].tensor == tensor
    assert refusal(short).startswith("numbers: ")
