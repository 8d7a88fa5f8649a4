"""What a run came to in one sentence, and what must be known beside it."""

from __future__ import annotations

from dataclasses import dataclass

from verification.records.results import CellResult
from verification.reporting.summary import Summary


@dataclass(frozen=True)
class NotRun:
    """``cells`` of one implementation that could not run, for one reason."""

    device: str
    implementation: str
    reason: str
    cells: int


@dataclass(frozen=True)
class Headline:
    """``state`` is good, idle (nobody can say) or bad. ``notes`` keep a good one from being read as more than it is."""

    state: str
    text: str
    notes: list[str]
    not_run: list[NotRun]
    facts: dict[str, list[str]]


def headline(summary: Summary) -> Headline:
    """A broken law outweighs a survivor, which outweighs what did not break."""
    broken = {failure.finding.law for failure in summary.failures}
    broken |= {result.law for result in without_finding(summary)}
    survivors = sum(not fault.law for fault in summary.faults)
    if broken:
        state, text = "bad", f"{_count(len(broken), 'law')} broken"
    elif survivors:
        state, text = "bad", f"{survivors} of {_count(len(summary.faults), 'planted fault')} survived"
    elif summary.verified:
        state, text = "good", f"No violation in {_count(summary.verified, 'problem')}"
    elif summary.faults:
        state, text = "good", f"{_count(len(summary.faults), 'planted fault')} hunted, none survived"
    else:
        state, text = "idle", "Nothing was verified"
    codes = [str(ending.exit_code) for ending in summary.endings if ending.exit_code and not ending.interrupted]
    if codes and state != "bad":
        state, text = "bad", f"{text}, but exit code {', '.join(codes)}"
    running = len(summary.runs) - len(summary.endings)
    if summary.interrupted or running > 0:
        state, text = (
            "idle" if state == "good" else state,
            f"{text}, {'interrupted' if summary.interrupted else 'not ended'}",
        )
    return Headline(state, text, _notes(summary, running), _not_run(summary.results), _facts(summary))


def without_finding(summary: Summary) -> list[CellResult]:
    """Broken cells of which no failing problem is known. A replay of many problems is one cell that names laws."""
    found = [failure.finding for failure in summary.failures]
    return [
        result
        for result in summary.results
        if result.failure
        and not any(
            (it.problem.dtype, it.device, it.backend) == (result.dtype, result.device, result.implementation)
            and it.law in (result.law, *result.failure.replace(";", " ").split())
            for it in found
        )
    ]


def duration(seconds: float) -> str:
    """To be read, not to be added."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _notes(summary: Summary, running: int) -> list[str]:
    outside = summary.problems - summary.verified
    killed = sum(bool(fault.law) for fault in summary.faults)
    notes = [
        (summary.interrupted, "A person ended the run before its budget was spent."),
        (running > 0, f"{_count(running, 'run')} did not end: what is missing here may have broken."),
        (not summary.verified and not summary.faults, "No problem was verified, so this says nothing of the kernel."),
        (outside > 0, f"{outside:,} more problems were tried of which their law says nothing."),
        (bool(summary.faults), f"{killed} of {_count(len(summary.faults), 'planted fault')} killed."),
    ]
    return [text for holds, text in notes if holds]


def _not_run(results: list[CellResult]) -> list[NotRun]:
    found: dict[tuple[str, str, str], int] = {}
    for result in results:
        if result.skipped:
            key = result.device, result.implementation, result.skipped
            found[key] = found.get(key, 0) + 1
    return [NotRun(*key, cells) for key, cells in found.items()]


def _facts(summary: Summary) -> dict[str, list[str]]:
    """Names to values, several where runs differ."""
    facts: dict[str, list[str]] = {}
    if summary.problems:
        facts["problems"] = [f"{summary.problems:,}"]
    if summary.seconds:
        facts["wall time"] = [duration(summary.seconds)]
        if summary.problems:
            facts["problems per second"] = [f"{summary.problems / summary.seconds:,.0f}"]
    ran = sum(not result.skipped for result in summary.results)
    if summary.results:
        facts["cells"] = [f"{ran:,} ran, {len(summary.results) - ran:,} not run"]
    said = [("seed", str(run.seed)) for run in summary.runs]
    said += [(name, value) for run in summary.runs for name, value in run.machine.items()]
    said += [("command", run.command) for run in summary.runs if run.command]
    for name, value in said:
        if value not in facts.setdefault(name, []):
            facts[name].append(value)
    return facts


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"
