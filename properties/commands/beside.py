"""Lines of a probe beside the contract that it proposes: what the documentation promises, and does not allow."""

from __future__ import annotations

from collections.abc import Sequence

from properties.commands.errors import UsageError
from properties.run.point import Point
from verification.backends.documented import AS_DOCUMENTED, Weaker
from verification.backends.protocol import Backend
from verification.isolation.isolated import open_backend


def describe_documented(lines: Sequence[Weaker]) -> list[str]:
    """Return a text for each declaration that is weaker than it could be: the words of the documentation, their place,
    and what explains the rest.
    """
    return [
        f"documented, of {' '.join([line.field, *line.values])}: "
        f"{repr(line.documented) if line.documented else 'nothing'} ({line.source}): {line.explained_by}"
        for line in lines
    ]


def open_as_documented(backend: Backend, source: str, crash_after: float | None) -> Backend:
    """Return the backend that ``source`` names under the precision that its documentation promises.

    Raises UsageError where that is the declared precision.
    """
    sharp = open_backend(source + AS_DOCUMENTED, backend.device, crash_after)
    if sharp.precision == backend.precision:
        raise UsageError(f"--sharp: {source} (must state a `documented` precision that is not the declared one)")
    return sharp


def describe_allowed(declared: Sequence[Point], documented: Sequence[Point]) -> list[str]:
    """Return a text for each point that holds under the declared precision, and breaks under the documented one."""
    holding = {(point.field, point.value, point.phase) for point in declared if point.holds}
    return [
        f"only the declared precision allows {' '.join(filter(None, (point.field, point.value, point.phase)))}: "
        f"{point.broken}"
        for point in documented
        if point.broken and (point.field, point.value, point.phase) in holding
    ]
