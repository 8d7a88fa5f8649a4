"""Verdict on a run in one sentence, and what must be known beside it."""

from __future__ import annotations

from dataclasses import dataclass

from verification.records.failure import Failure
from verification.records.results import CellResult, State
from verification.reporting.summary import Summary
from verification.reporting.tally import names, silent, tally, without_a_turn


@dataclass(frozen=True)
class Others:
    """Cells that verified nothing, all of one state and for one reason."""

    state: State
    why: str
    names: list[str]


@dataclass(frozen=True)
class Headline:
    """Verdict on a run: ``state`` is good, idle (nobody can say) or bad. ``notes`` keep a good one from being read as
    more than it is, ``others`` are the cells that did not hold without being broken.
    """

    state: str
    text: str
    notes: list[str]
    others: list[Others]
    facts: dict[str, list[str]]


def headline(summary: Summary) -> Headline:
    """Return the verdict: a broken law outweighs a run that died, and that outweighs a planted fault that survived."""
    state, text = _verdict(summary)
    codes = [str(ending.exit_code) for ending in summary.endings if ending.exit_code and not ending.interrupted]
    if codes and state == "good":
        text = f"{text}, but exit code {', '.join(codes)}"
    if codes:
        state = "bad"
    if summary.interrupted or summary.unended:
        state = "idle" if state == "good" else state
        text = f"{text}, {'interrupted' if summary.interrupted else 'not ended'}"
    return Headline(state, text, _notes(summary), _others(summary), _facts(summary))


def _verdict(summary: Summary) -> tuple[str, str]:
    asked = {result.law for result in summary.results}
    broken = {failure.finding.law for failure in summary.failures}
    broken |= {law for failure in summary.failures for law, _ in failure.broken if law in asked}
    broken |= {result.law for result in without_finding(summary)}
    survivors = sum(not fault.law for fault in summary.faults)
    unreached, cells = summary.states[State.NOT_REACHED], len(summary.results)
    problems = _count(summary.verified, "problem")
    if broken:
        findings = len(summary.failures)  # one may be that of many laws
        found = f"{_count(findings, 'finding')}, " if 0 < findings < len(broken) else ""
        return "bad", f"{found}{_count(len(broken), 'law')} broken"
    if summary.error:
        return "bad", f"The run died after {_count(summary.verified, 'verified problem')}: {summary.error}"
    if survivors:
        return "bad", f"{survivors} of {_count(len(summary.faults), 'planted fault')} survived"
    if summary.verified and unreached:
        return "idle", f"{unreached:,} of {_count(cells, 'cell')} not reached, no violation in {problems}"
    if summary.verified:
        return "good", f"No violation in {problems}"
    if summary.faults:
        return "good", f"{_count(len(summary.faults), 'planted fault')} hunted, none survived"
    return "idle", "Nothing was verified"


def without_finding(summary: Summary) -> list[CellResult]:
    """Return the broken cells of which no failing problem is known. A replay of many problems is one cell, which names
    laws.
    """
    return [
        result
        for result in summary.results
        if result.failure and not any(_is_told(result, failure) for failure in summary.failures)
    ]


def _is_told(result: CellResult, failure: Failure) -> bool:
    """Return True if the cell is among those that break by the failure's cause."""
    finding = failure.finding
    if (finding.device, failure.implementation or finding.backend) != (result.device, result.implementation):
        return False
    laws = result.failure.replace(";", " ").split()
    return any(dtype == result.dtype and (law == result.law or law in laws) for law, dtype in failure.broken)


def duration(seconds: float) -> str:
    """Return seconds to be read, not to be added."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _notes(summary: Summary) -> list[str]:
    outside = summary.problems - summary.verified
    killed = sum(bool(fault.law) for fault in summary.faults)
    idle = without_a_turn(summary.results)
    notes = [
        (bool(summary.error), f"The run died: {summary.error}"),
        *((True, f"W{str(lost)[1:]}.") for lost in summary.lost),
        (summary.interrupted, "A person ended the run before its budget was spent."),
        (summary.unended > 0, f"{_count(summary.unended, 'run')} did not end: what is missing here may have broken."),
        (not summary.verified and not summary.faults, "No problem was verified, so this says nothing of the kernel."),
        (bool(summary.results), f"{tally(summary.results)}."),
        (bool(idle), f"{_count(len(idle), 'law')} had no turn at all: {', '.join(idle)}."),
        (outside > 0, f"{outside:,} more problems were tried of which their law says nothing."),
        (bool(summary.faults), f"{killed} of {_count(len(summary.faults), 'planted fault')} killed."),
    ]
    return [text for holds, text in notes if holds]


def _others(summary: Summary) -> list[Others]:
    results = summary.results
    unreached = names(results, State.NOT_REACHED)
    skipped: dict[str, list[CellResult]] = {}
    for result in results:
        if result.state is State.NOT_RUN:
            skipped.setdefault(result.skipped, []).append(result)
    return [
        *([Others(State.NOT_REACHED, summary.why_not_reached, unreached)] if unreached else []),
        *(Others(State.SAYS_NOTHING, why, of_reason) for why, of_reason in silent(results).items()),
        *(Others(State.NOT_RUN, why, names(of_reason, State.NOT_RUN)) for why, of_reason in skipped.items()),
    ]


def _facts(summary: Summary) -> dict[str, list[str]]:
    """Return names with their values, several where runs differ."""
    facts: dict[str, list[str]] = {}
    if summary.problems:
        facts["problems"] = [f"{summary.problems:,}"]
    if summary.seconds:
        facts["wall time"] = [duration(summary.seconds)]
        if summary.starts:
            facts["start-up, of that"] = [duration(summary.start_up)]
        if summary.problems:
            facts["problems per second"] = [f"{summary.problems / summary.seconds:,.0f}"]
    if summary.results:
        facts["cells"] = [f"{count:,} {state}" for state, count in summary.states.items()]
    said = [("seed", str(run.seed)) for run in summary.runs]
    said += [(name, value) for run in summary.runs for name, value in run.machine.items()]
    said += [("command", run.command) for run in summary.runs if run.command]
    for name, value in said:
        if value not in facts.setdefault(name, []):
            facts[name].append(value)
    return facts


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"
