"""What a backend could promise: each point of a contract is tried, so that nobody has to guess.

A point that holds on so many problems may still be no promise; one that breaks is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from properties.law import Law, OutsideLaw
from properties.laws import LAWS
from properties.profile import try_each
from properties.strategies import HEAD_DIMS, problems_within
from verification.backend import Backend, Call
from verification.contract import Contract
from verification.formats import FORMATS
from verification.judge import Violation
from verification.precision import Precision
from verification.problem import Problem

BY_NAME = {law.name: law for law in LAWS}
# Laws that a contract may claim to the bit.
BITWISE = (
    "poison_is_invisible",
    "block_ids_do_not_matter",
    "batch_does_not_matter",
    "the_future_does_not_matter",
    "gqa_equals_expanded_mha",
    "strides_do_not_matter",
    "index_dtype_does_not_matter",
    "same_call_same_bits",
    "values_scale_exactly",
)


@dataclass(frozen=True)
class Point:
    """``field`` of a contract, and what was tried of it. ``broken`` is how; empty where it held on ``problems``."""

    field: str
    value: str
    declared: bool
    problems: int
    broken: str = ""

    @property
    def holds(self) -> bool:
        return bool(self.problems) and not self.broken


@dataclass(frozen=True)
class Promising:
    """A backend as if it promised this."""

    inner: Backend
    contract: Contract

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def device(self) -> str:
        return self.inner.device

    @property
    def precision(self) -> Precision:
        return self.inner.precision

    def on(self, device: str) -> Promising:
        return replace(self, inner=self.inner.on(device))

    def prepare(self, problem: Problem) -> Call:
        return self.inner.prepare(problem)


def probe(backend: Backend, seed: int, examples: int) -> Iterator[Point]:
    """Point by point, ``examples`` problems each. Which dtypes and head_dims hold decides what the others are tried on;
    its precision is taken for granted.
    """
    declared = backend.contract
    nothing: Any = {"refuses": False, "range_events": False, "nonfinite": False, "bitwise": frozenset()}
    least = replace(declared, dtypes=tuple(FORMATS), head_dims=(), **nothing)

    def tried(field: str, value: str, owed: bool, laws: tuple[str, ...], contract: Contract, dtype: str) -> Point:
        found = [_try(BY_NAME[name], Promising(backend, contract), dtype, seed, examples) for name in laws]
        broken = next((why for _, why in found if why), "")
        return Point(field, value, owed, sum(count for count, _ in found), broken)

    dims = declared.head_dims[:1] or (64,)
    dtypes = []
    for dtype in FORMATS:
        some = replace(least, head_dims=dims)
        yield (point := tried("dtypes", dtype, dtype in declared.dtypes, ("agrees_with_reference",), some, dtype))
        dtypes += [dtype] * point.holds
    if not dtypes:
        return
    first, taken = dtypes[0], []
    for dim in HEAD_DIMS:
        promised = not declared.head_dims or dim in declared.head_dims
        one = replace(least, head_dims=(dim,))
        yield (point := tried("head_dims", str(dim), promised, ("agrees_with_reference",), one, first))
        taken += [dim] * point.holds
    base = replace(least, head_dims=tuple(taken) or dims)
    flags = {
        "nonfinite": ("agrees_with_reference", "visible_nan_appears"),
        "refuses": ("bad_input_is_refused",),
        "range_events": ("logs_what_is_owed",),
    }
    for field, laws in flags.items():
        owed: Any = {field: True}
        yield tried(field, "", getattr(declared, field), laws, replace(base, **owed), first)
    for name in BITWISE:
        claimed = replace(base, bitwise=frozenset({name}))
        yield tried("bitwise", name, name in declared.bitwise, (name,), claimed, first)


def _try(law: Law, backend: Backend, dtype: str, seed: int, examples: int) -> tuple[int, str]:
    """On how many problems it said something, and how it broke."""
    said = 0

    def check(problem: Problem) -> None:
        nonlocal said
        try:
            law.check(backend, problem)
        except OutsideLaw:
            return
        said += 1

    try:
        try_each(problems_within(backend.contract, dtype, law.phases, law.plain, law.bad_input), check, seed, examples)
    except Violation as violation:
        return said + 1, str(violation).splitlines()[0]
    return said, ""


def proposed(backend: Backend, points: list[Point]) -> Contract:
    """The declared contract with what was measured in its place."""
    holding: dict[str, list[str]] = {}
    for point in points:
        if point.holds:
            holding.setdefault(point.field, []).append(point.value)
    dims = tuple(map(int, holding.get("head_dims", ())))
    flags: Any = {field: field in holding for field in ("nonfinite", "refuses", "range_events")}
    return replace(
        backend.contract,
        dtypes=tuple(holding.get("dtypes", ())),
        head_dims=() if dims == HEAD_DIMS else dims,
        bitwise=frozenset(holding.get("bitwise", ())),
        **flags,
    )
