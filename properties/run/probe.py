"""Measurement of a contract: each point that a backend could promise is tried, so that nobody has to guess.

A point that holds on so many problems may still be no promise; one that breaks is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from hypothesis.errors import Flaky

from properties.generate.options import HEAD_DIMS
from properties.generate.profile import try_each
from properties.generate.strategies import MASKS, can_misuse, problems_within
from properties.laws import LAWS
from properties.laws.claims import check_bitwise
from properties.laws.law import Asked, Law, OutsideLaw
from verification.backends.contract import Contract
from verification.backends.promises import ARGUMENTS
from verification.backends.protocol import Backend, Wrapped
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.problem.formats import DTYPES
from verification.problem.labels import NAMES, labels
from verification.problem.scoring import FEATURES
from verification.problem.visibility import has_blind_rows

BY_NAME = {law.name: law for law in LAWS}
AGREES = BY_NAME["agrees_with_reference"]
# Labels of `verification.problem.labels` that kernels differ about, and others that problems with one must have.
LABELS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("slots: -1", "slots: twice", "blocks: shared", "blocks: bad and not needed"), frozenset()),
    "blocks: out of order": frozenset(),
    **dict.fromkeys(("slots: < -1", "slots: too large"), frozenset({"indices: int32"})),
    "slots: past 32 bits": frozenset({"slots: < -1", "slots: too large"}),
    **dict.fromkeys((f"blocks: {x}" for x in ("-1", "< -1", "too large", "table too short")), frozenset({"slots: -1"})),
    "blocks: > 32767": frozenset(f"block size: {size}" for size in (1, 2, 3)),
    "sequences: 0": frozenset(),
    "keys: 0": frozenset({"queries and keys: no keys", "slots: -1"}),
    "sequences: no keys between others": frozenset({"keys: 0", "queries and keys: no keys", "slots: -1"}),
    **dict.fromkeys((f"queries and keys: {x}" for x in ("no queries", "Lq > Lk", "1 < Lq < Lk")), frozenset()),
    **dict.fromkeys((f"H/G: {ratio}" for ratio in (2, 3, 5, 8)), frozenset()),
    **dict.fromkeys((f"block size: {size}" for size in (1, 2, 3, 256)), frozenset()),
    **dict.fromkeys((f"layout: {x}" for x in ("fused", "transposed", "strided")), frozenset()),
    **dict.fromkeys((f"cache layout: {x}" for x in ("interleaved", "transposed")), frozenset()),
    "poison around k: nan": frozenset(),
    "poison around v: nan": frozenset(),
    "poison around v: large": frozenset({"poison around k: large"}),
    "poison around k: negative": frozenset({"poison around v: large"}),
    "indices: int32": frozenset(),
    **dict.fromkeys((f"special: {x} seen" for x in ("nan", "inf", "-inf")), frozenset()),
    "special: not seen": frozenset(f"special: {x} seen" for x in ("nan", "inf", "-inf")),
}
# No question to a backend that is tried with certain sizes only, and all that there is to ask of a dense batch.
_SIZES = ("H/G", "block size", "cache layout")
_WITH_BLIND_ROWS = {"keys: 0", "queries and keys: no keys", "queries and keys: Lq > Lk", "slots: -1"}
_DENSE = ("H/G", "layout", "queries and keys: 1", "queries and keys: Lq")


@dataclass(frozen=True)
class Point:
    """One promise that was tried."""

    field: str
    """Field of the contract; "defines" stands for a label that is not ``undefined``."""
    value: str
    """Part of the field that was tried, as a dtype or a law; empty for all of it."""
    declared: bool
    """True if the contract promises it."""
    problems: int
    """Number of problems of which it says something."""
    broken: str = ""
    """The violation, in one line; empty where it held."""
    phase: str = ""
    """The phase that was tried, where the contract differs from phase to phase; empty stands for all of them."""

    @property
    def holds(self) -> bool:
        return bool(self.problems) and not self.broken


@dataclass(frozen=True)
class Promising(Wrapped):
    """A backend as if it promised this."""

    promised: Contract

    @property
    def contract(self) -> Contract:
        return self.promised


def probe(backend: Backend, seed: int, examples: int) -> Iterator[Point]:
    """Try point by point, ``examples`` problems each; phase by phase where the contract differs from phase to phase.
    Which dtypes and head_dims hold decides what the others are tried on; its precision is taken for granted. Raises
    ClaimError.
    """
    check_bitwise(backend.contract)
    for phase, contract in of_phases(backend.contract).items():
        for point in _points(Promising(backend, contract), seed, examples):
            yield replace(point, phase=phase)


def of_phases(contract: Contract) -> dict[str, Contract]:
    """Return for each phase the contract of a backend that has no other; all in one, under "", where none differs."""
    if not contract.by_phase:
        return {"": contract}
    return {phase: contract.in_phase(phase).in_all_phases(phases=(phase,)) for phase in contract.phases}


def _points(backend: Backend, seed: int, examples: int) -> Iterator[Point]:
    """Try all points of a contract that is one for all its phases."""
    declared = backend.contract
    asked = _questions(declared)
    nothing: Any = {"refuses": False, "range_events": False, "nonfinite": False}
    nothing |= {"bitwise": frozenset(), "scoring": frozenset(), "undefined": frozenset(asked)}
    least = replace(declared, dtypes=DTYPES, head_dims=(), **nothing)

    def tried(field: str, value: str, owed: bool, law: Law, contract: Contract, dtype: str, times: int = 1) -> Point:
        return Point(field, value, owed, *_try(law, Promising(backend, contract), dtype, seed, times * examples))

    dims = () if declared.compiled_sizes else declared.head_dims[:1] or (64,)
    dtypes = []
    for dtype in DTYPES:
        some = replace(least, head_dims=dims)
        yield (point := tried("dtypes", dtype, dtype in declared.dtypes, AGREES, some, dtype))
        dtypes += [dtype] * point.holds
    if not dtypes:
        return
    first, taken, scoring = dtypes[0], [], set[str]()
    for dim in () if declared.compiled_sizes else HEAD_DIMS:
        promised = not declared.head_dims or dim in declared.head_dims
        one = replace(least, head_dims=(dim,))
        yield (point := tried("head_dims", str(dim), promised, AGREES, one, first))
        taken += [dim] * point.holds
    base, broken = replace(least, head_dims=tuple(taken) or dims), set()
    for alignment in _alignments(declared):
        one = replace(base, alignments=(alignment,), phases=("prefill",))
        yield tried("alignments", alignment, alignment in declared.alignments, _UNEQUAL, one, first, 4)
    for feature in _features(declared):
        one = replace(base, scoring=frozenset({feature}))
        yield (point := tried("scoring", feature, feature in declared.scoring, _scored(feature), one, first, 4))
        scoring |= {feature} if point.holds else set()
    for label, needed in asked.items():
        alone = replace(base, nonfinite="special" in label, undefined=frozenset(asked) - needed - {label})
        promised = label not in declared.undefined and (declared.nonfinite or "special" not in label)
        yield (point := _with_label(Promising(backend, alone), label, promised, first, seed, examples))
        broken |= {label} if point.broken else set()
    masks = scoring & {"bool_mask", "float_mask"}
    for blind in ("zeros", "nan", "mean") if masks or not declared.dense_batches else ():
        of_masks = frozenset(masks | {"blind_rows"} if masks else ())
        seeing = replace(base, blind=blind, scoring=of_masks, undefined=base.undefined - _WITH_BLIND_ROWS)
        promised = blind == declared.blind and (not masks or "blind_rows" in declared.scoring)
        yield (point := _blindly(Promising(backend, seeing), blind, promised, first, seed, examples))
        scoring |= {"blind_rows"} if masks and point.holds else set()
    base = replace(base, undefined=frozenset(broken), scoring=frozenset(scoring))
    for argument in _arguments(declared):
        refusing, owed = replace(base, refuses=frozenset({argument})), argument in declared.refused
        yield tried("refuses", argument, owed, BY_NAME["bad_input_is_refused"], refusing, first, 2)
    warning = replace(base, range_events=True)
    yield tried("range_events", "", declared.range_events, BY_NAME["logs_what_is_owed"], warning, first)
    for law in LAWS:
        claimed = replace(base, bitwise=frozenset({law.name}))
        if law.to_the_bit and law.asks(Promising(backend, claimed)):
            yield tried("bitwise", law.name, law.name in declared.bitwise, law, claimed, first)


def _alignments(declared: Contract) -> tuple[str, ...]:
    """Only dense batches may have none."""
    if "prefill" not in declared.phases:
        return ()
    return ("top_left", "bottom_right", "none") if declared.dense_batches else ("top_left", "bottom_right")


def _arguments(declared: Contract) -> list[str]:
    """Return those that can be bad in a call of its phases; calls of dense batches are not spoiled."""
    if declared.dense_batches:
        return []
    return [name for name in ARGUMENTS if any(can_misuse(phase, frozenset({name})) for phase in declared.phases)]


def _features(declared: Contract) -> tuple[str, ...]:
    """Return the features of scoring to try, one by one; rows that see nothing have points of their own. A backend
    with a paged cache is tried only if it declares some, since others do not look at scoring; masks are for dense
    batches alone.
    """
    if declared.dense_batches:
        return tuple(feature for feature in FEATURES if feature != "blind_rows")
    return tuple(feature for feature in FEATURES if feature not in MASKS) if declared.scoring else ()


def _questions(declared: Contract) -> dict[str, frozenset[str]]:
    """Return those of `LABELS` that problems for such a contract may have."""
    if declared.dense_batches:
        return {label: needed for label, needed in LABELS.items() if label.startswith(_DENSE)}
    return {
        label: needed for label, needed in LABELS.items() if not (declared.compiled_sizes and label.startswith(_SIZES))
    }


def _with_label(backend: Backend, label: str, promised: bool, dtype: str, seed: int, examples: int) -> Point:
    """On problems that have it, and nothing else that kernels differ about."""
    count = 0
    # So many more as few of them have it.
    for name, times in (("agrees_with_reference", 4), ("cache_is_exact", 2), ("poison_is_invisible", 2)):
        law = _only(BY_NAME[name], lambda problem: NAMES[label] in labels(problem))
        said, broken = _try(law, backend, dtype, seed, times * examples)
        count += said
        if broken:
            return Point("defines", label, promised, count, broken)
    return Point("defines", label, promised, count)


def _blindly(backend: Backend, blind: str, promised: bool, dtype: str, seed: int, examples: int) -> Point:
    """On problems with rows that see nothing."""
    return Point("blind", blind, promised, *_try(_only(AGREES, has_blind_rows), backend, dtype, seed, 4 * examples))


def _only(law: Law, wanted: Callable[[Problem], bool]) -> Law:
    """The law of such problems alone."""

    def check(backend: Asked, problem: Problem) -> Verdict:
        if not wanted(problem):
            raise OutsideLaw("the problem does not have what is probed")
        return law.check(backend, problem)

    return replace(law, check=check)


def _scored(feature: str) -> Law:
    return _only(AGREES, lambda problem: feature in problem.scoring.features)


# Where queries and keys are as many, both alignments are one.
_UNEQUAL = _only(AGREES, lambda problem: problem.query_lens != problem.key_lens)


def _try(law: Law, backend: Backend, dtype: str, seed: int, examples: int) -> tuple[int, str]:
    """On how many problems it said something, and how it broke."""
    said, broken = 0, ""

    def check(problem: Problem) -> None:
        nonlocal said, broken
        try:
            law.ask(backend, problem)
        except OutsideLaw:
            return
        except Violation as violation:
            broken = broken or str(violation).splitlines()[0]
            raise
        said += 1

    # What breaks now and then, as memory that nobody has written does, is broken all the same.
    with suppress(Violation, Flaky):
        kind = law.phases, law.plain, law.bad_input, law.to_the_bit
        try_each(problems_within(backend.contract, dtype, *kind), check, seed, examples)
    return said + bool(broken), broken
