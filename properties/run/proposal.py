"""The contract that the points of a probe amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from properties.generate.options import HEAD_DIMS
from properties.run.point import Point
from properties.run.probe import of_phases
from verification.backends.contract import Contract
from verification.backends.promises import Differing
from verification.backends.protocol import Backend
from verification.problem.formats import DTYPES
from verification.records.findings import Finding


def proposed(backend: Backend, points: list[Point]) -> Contract | None:
    """Return the declared contract with what was measured in its place; None where no dtype holds."""
    declared = of_phases(backend.contract)
    found = {phase: _measured(own, [p for p in points if p.phase == phase]) for phase, own in declared.items()}
    kept = {phase: contract for phase, contract in found.items() if contract is not None}
    dtypes = [dtype for dtype in DTYPES if all(dtype in own.dtypes for own in kept.values())]
    if not kept or not dtypes:
        return None
    first, *others = kept.items()
    if not first[0]:
        return first[1]
    contract = replace(first[1], dtypes=tuple(dtypes), phases=tuple(kept))
    for phase, own in others:
        differing: Any = {name: getattr(own, name) for name in Differing.__annotations__}
        contract = contract.differing(phase, **differing)
    return contract


def _measured(declared: Contract, points: list[Point]) -> Contract | None:
    """Return that of one phase, or of all phases that are alike."""
    holding: dict[str, list[str]] = {}
    for point in points:
        if point.holds:
            holding.setdefault(point.field, []).append(point.value)
    if "dtypes" not in holding:
        return None
    dims = tuple(map(int, holding.get("head_dims", ())))
    nonfinite = any(name.startswith("special") for name in holding.get("defines", ()))
    broken = {point.value for point in points if point.field == "defines" and point.broken}
    masked = not {"bool_mask", "float_mask"}.isdisjoint(holding.get("scoring", ()))
    if not nonfinite:
        broken = {name for name in broken if not name.startswith("special")}
    return replace(
        declared,
        dtypes=tuple(holding["dtypes"]),
        head_dims=() if dims == HEAD_DIMS else dims,
        bitwise=frozenset(holding.get("bitwise", ())),
        refuses=_refused(points),
        range_events="range_events" in holding,
        nonfinite=nonfinite,
        alignments=tuple(holding.get("alignments", declared.alignments)),
        scoring=frozenset(holding.get("scoring", ())) | ({"blind_rows"} if "blind" in holding and masked else set()),
        blind=holding.get("blind", ["undefined"])[0],  # type: ignore[arg-type]
        undefined=declared.undefined - {*holding.get("defines", ())} | broken,
    )


def _refused(points: list[Point]) -> bool | frozenset[str]:
    """Return the arguments of which every bad value was refused; True where none was accepted."""
    asked = [point for point in points if point.field == "refuses" and point.problems]
    refused = frozenset(point.value for point in asked if point.holds)
    return bool(asked) if len(refused) == len(asked) else refused


# What has to be so where a field of the proposal is weaker than the declared one, by field of a `Point`.
_ONLY_IF = {
    "dtypes": "no call is in {}",
    "head_dims": "no head has {} numbers",
    "alignments": "no prefill has its diagonal at {}",
    "scoring": "no call has {}",
    "defines": "no call has '{}'",
    "blind": "nobody relies on {} in rows that see no key",
    "refuses": "{} is never bad",
    "range_events": "nobody relies on its warnings",
    "bitwise": "nobody relies on the bits of {}",
}


def weakened(points: Sequence[Point]) -> list[Point]:
    """Return the declared points that the proposal leaves out since they broke: each may be a defect."""
    return [point for point in points if point.declared and point.broken]


def unmeasured(points: Sequence[Point]) -> list[Point]:
    """Return the declared points that the proposal leaves out since no problem told anything about them."""
    kept = ("defines", "alignments")  # which are declared still where nothing was measured
    return [point for point in points if point.declared and not point.problems and point.field not in kept]


def holds_only_if(point: Point) -> str:
    """Return the one line that goes with a weakened point: the proposal never passes off a defect as a contract."""
    condition = _ONLY_IF[point.field].format(point.value)
    phase = f" in a {point.phase}" if point.phase else ""
    only_if = f"the proposal holds only if {condition}{phase}"
    return f"{point.title}: {only_if}: if your documentation promises it, this is a finding"


def replay_of(point: Point, source: str, device: str) -> str:
    """Return the argument of `attn-verify replay` and `attn-verify script` that shows how a point broke."""
    assert point.problem is not None
    return quote(Finding(point.problem, point.law, source, device).to_line())
