"""A run in Markdown: what a pull request shows of it."""

from __future__ import annotations

from itertools import chain

from verification.problem.describe import describe
from verification.records.failure import Failure
from verification.records.results import CellResult
from verification.reporting.summary import Summary


def markdown(summary: Summary) -> str:
    """Verdict, matrix, findings."""
    failures = summary.failures
    verdict = f"{len(failures)} broken: {_laws(failures)}" if failures else "No violation"
    lines = [f"## Attention laws: {verdict}", "", _plain(summary.totals()), "", *_matrix(summary.results)]
    for failure in failures:
        lines += ["", *_finding(failure)]
    if summary.coverage:
        untried = len(summary.coverage.untried())
        lines += ["", f"Pairs of features never tried: {untried:,}."]
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
    ran = [result for result in results if not result.skipped]
    if not ran:
        return f"not run: {_plain(results[0].skipped)}" if results else ""
    broken = sum(bool(result.failure) for result in ran)
    score = max(result.score for result in ran)
    text = f"{sum(result.problems for result in ran):,} problems, err/bound {score:.3f}"
    return f"**{broken} of {len(ran)} broken**, {text}" if broken else text


def _finding(failure: Failure) -> list[str]:
    finding = failure.finding
    said = "\n".join(chain(finding.message.splitlines(), describe(finding.problem).splitlines()))
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
    """On one line, and no markup of its own."""
    return "".join(f"\\{c}" if c in "\\`*<>|[]_" else c for c in " ".join(text.split()))
