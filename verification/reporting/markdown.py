"""Markdown of a run, for a pull request."""

from __future__ import annotations

from itertools import chain

from verification.problem.describe import describe
from verification.records.failure import Failure
from verification.records.results import CellResult, State
from verification.reporting.cause import tell_cause
from verification.reporting.headline import headline
from verification.reporting.summary import Summary
from verification.reporting.tally import counts


def markdown(summary: Summary) -> str:
    """Return verdict, matrix, cells that verified nothing, and findings."""
    failures, found = summary.failures, headline(summary)
    verdict = f"{len(failures)} broken: {_laws(failures)}" if failures else _plain(found.text)
    lines = [f"## Attention laws: {verdict}", "", _plain(summary.totals()), "", *_matrix(summary.results)]
    others = [f"- {each.state}, {_plain(each.why)}: {_plain(' '.join(each.names))}" for each in found.others]
    others += [f"- {_plain(str(lost))}" for lost in summary.lost]
    lines += ["", *others] if others else []
    for failure in failures:
        lines += ["", *_finding(failure)]
    if summary.coverage:
        untried = len(summary.coverage.untried(summary.left_out))
        lines += ["", f"Pairs of features never tried: {untried:,}."]
    machine = dict.fromkeys(f"{name} {value}" for run in summary.runs for name, value in run.machine.items())
    lines += ["", f"On {_plain(', '.join(machine))}."] if machine else []
    return "\n".join(lines) + "\n"


def _laws(failures: list[Failure]) -> str:
    return ", ".join(dict.fromkeys(f"`{_plain(failure.finding.law)}`" for failure in failures))


def _matrix(results: list[CellResult]) -> list[str]:
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    rows = dict.fromkeys((result.device, result.implementation) for result in results)
    lines = [f"| device / implementation | {' | '.join(map(_plain, dtypes))} |", f"| --- |{' --- |' * len(dtypes)}"]
    for device, implementation in rows:
        cells = [
            [r for r in results if (r.device, r.implementation, r.dtype) == (device, implementation, d)] for d in dtypes
        ]
        lines.append(f"| {_plain(f'{device} {implementation}')} | {' | '.join(map(_cell, cells))} |")
    return lines


def _cell(results: list[CellResult]) -> str:
    found = {state: count for state, count in counts(results).items() if count}
    if set(found) == {State.NOT_RUN}:
        return f"not run: {_plain(results[0].skipped)}"
    broken = found.pop(State.BROKEN, 0)
    parts = [f"**{broken} of {len(results)} broken**"] if broken else []
    problems = sum(result.problems for result in results)
    if problems:
        parts.append(f"{problems:,} problems, err/bound {max(result.ratio for result in results):.3f}")
    parts += [f"{count} {state}" for state, count in found.items() if state is not State.HELD]
    return ", ".join(parts)


def _finding(failure: Failure) -> list[str]:
    finding = failure.finding
    words = describe(finding.problem).splitlines()
    said = "\n".join(chain(finding.message.splitlines(), words, tell_cause(failure)))
    return [
        f"### `{_plain(finding.law)}` on {_plain(finding.backend)} ({_plain(finding.device)})",
        "",
        _plain(" ".join(failure.statement.split())),
        "",
        *(f"    {line}" for line in said.splitlines()),
        "",
        f"Kept in `{_plain(failure.kept)}`" if failure.kept else f"Not kept: {_plain(failure.not_kept)}",
    ]


def _plain(text: str) -> str:
    """Return a text on one line, with no markup of its own."""
    return "".join(f"\\{c}" if c in "\\`*<>|[]_" else c for c in " ".join(text.split()))
