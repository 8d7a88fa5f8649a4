"""Counts of cells by state, and their names: words that all reports share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from verification.records.results import CellResult, State


def counts(results: Iterable[CellResult]) -> dict[State, int]:
    """Return how many cells came to each state, all five of them, in the order of `State`."""
    found = dict.fromkeys(State, 0)
    for result in results:
        found[result.state] += 1
    return found


def tally(results: Sequence[CellResult]) -> str:
    """Return the counts of all five states as a sentence, with the reasons why cells could not run."""
    skipped = dict.fromkeys(result.skipped for result in results if result.state is State.NOT_RUN)
    said = [f"{count:,} {_verb(state, count)}" for state, count in counts(results).items()]
    because = f" ({'; '.join(skipped)})" if skipped else ""
    return f"{len(results):,} {'cell' if len(results) == 1 else 'cells'}: {', '.join(said)}{because}"


def names(results: Iterable[CellResult], state: State) -> list[str]:
    """Return the names of all cells in that state, law-dtype-device-implementation, as few texts as they fit into:
    ``{a,b}`` stands for a and b.
    """
    dtypes: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        if result.state is state:
            dtypes.setdefault((result.law, result.device, result.implementation), []).append(result.dtype)
    laws: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
    for (law, device, implementation), held in dtypes.items():
        laws.setdefault((tuple(held), device, implementation), []).append(law)
    return [
        f"{_braces(of_laws)}-{_braces(held)}-{device}-{implementation}"
        for (held, device, implementation), of_laws in laws.items()
    ]


def silent(results: Sequence[CellResult]) -> dict[str, list[str]]:
    """Return why cells say nothing, and for each reason the names of those cells."""
    reasons: dict[str, list[CellResult]] = {}
    for result in results:
        if result.state is State.SAYS_NOTHING:
            reasons.setdefault(result.why, []).append(result)
    return {why: names(of_reason, State.SAYS_NOTHING) for why, of_reason in reasons.items()}


def ended_early(results: Sequence[CellResult]) -> dict[str, list[str]]:
    """Return what became of cells that were not asked further, and why, with the names of those cells."""
    reasons: dict[tuple[State, str], list[CellResult]] = {}
    for result in results:
        if result.ended:
            reasons.setdefault((result.state, result.ended), []).append(result)
    return {
        f"{state}, and asked no further, since {why}": names(of_reason, state)
        for (state, why), of_reason in reasons.items()
    }


def without_a_turn(results: Sequence[CellResult]) -> list[str]:
    """Return the laws that were to be asked, and of which no cell was reached."""
    reached = {result.law for result in results if result.state not in (State.NOT_REACHED, State.NOT_RUN)}
    owed = dict.fromkeys(result.law for result in results if result.state is State.NOT_REACHED)
    return [law for law in owed if law not in reached]


def _verb(state: State, count: int) -> str:
    return "say nothing" if state is State.SAYS_NOTHING and count != 1 else state


def _braces(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{{{','.join(texts)}}}"
