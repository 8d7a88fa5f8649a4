"""Cause of a finding in lines: where the kernel raised, what breaks with it, what it needs, which calls come first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verification.problem.describe import describe
from verification.records.failure import Failure
from verification.records.results import CellResult


def tell_cause(failure: Failure) -> Iterator[str]:
    """Yield the lines, each of which may be long; none where nothing is known."""
    if failure.frames:
        yield "It was raised at (the innermost last):"
        yield from (f"  {frame}" for frame in failure.frames)
    if before := failure.finding.before:
        calls = "this call has" if len(before) == 1 else f"these {len(before)} calls have"
        yield f"In a fresh process it breaks only where {calls} been made before:"
        for i, problem in enumerate(before, start=1):
            first, *others = describe(problem).splitlines()
            yield f"  {i}. {first}"
            yield from (f"     {line}" for line in others)
    if len(failure.broken) > 1:
        yield f"Broken by it: {name_broken(failure.broken)}."
    if failure.everywhere:
        yield "It breaks on nearly every problem: nothing else is told of the kernel before it is mended."
    elif failure.need:
        yield f"It needs {failure.need}: what broke by it went on without."


def is_own(result: CellResult, failure: Failure) -> bool:
    """Return True if the cell is the one in which the finding is told whole; others that break by it name that cell."""
    finding = failure.finding
    own = finding.law, finding.problem.dtype, finding.device, failure.implementation or finding.backend
    return own == result.cell


def name_broken(cells: Sequence[tuple[str, str]]) -> str:
    """Return laws with their dtypes, those of equal dtypes together: "a, b in float16, float32; c in float16"."""
    dtypes: dict[str, list[str]] = {}
    for law, dtype in cells:
        dtypes.setdefault(law, []).append(dtype)
    laws: dict[tuple[str, ...], list[str]] = {}
    for law, held in dtypes.items():
        laws.setdefault(tuple(sorted(held)), []).append(law)
    return "; ".join(f"{', '.join(of_laws)} in {', '.join(held)}" for held, of_laws in laws.items())
