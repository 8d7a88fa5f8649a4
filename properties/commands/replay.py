"""``attn-verify replay``: problems are checked again, under every law that speaks of them."""

from __future__ import annotations

import json as json_lib
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from properties.commands.errors import UsageError
from properties.commands.given import open_given, read_finding
from properties.commands.output import take_stdout
from properties.laws import LAWS
from properties.laws.law import Law
from properties.run.session import NOT_VERIFIED, NOTHING, VIOLATION
from properties.run.worker import replay
from verification.backends.flags import settle
from verification.catalogue import cannot_run
from verification.reporting.broken import render_failure


def run_replay(
    given: Sequence[str], backend: str, device: str, names: Sequence[str], crash_after: float | None, json: bool
) -> int:
    """Print which laws break on each problem. Return 1 where a law breaks, 3 where no law says anything of a problem,
    else 0.

    Raises UsageError, ProblemError, UnknownBackend and ClaimError.
    """
    settle()
    laws, codes, console = find_laws(names), [], Console(file=take_stdout() if json else None)
    for text in given:
        finding = read_finding(text)
        asked = open_given(finding, backend, device, crash_after)
        if reason := cannot_run(asked.device):
            raise UsageError(f"device: {asked.device!r} ({reason})")
        name = backend or finding.backend
        ratio, failures = replay(finding.problem, asked, laws, name, finding.before, patient=True)
        # The command that replays a failure names the file that was given, or the problem where it was given as text.
        kept = "" if text.lstrip().startswith("{") else text
        failures = [replace(failure, kept=kept) for failure in failures]
        if json:
            console.out(json_lib.dumps({"problem": text, "ratio": ratio, "broken": [f.to_dict() for f in failures]}))
        else:
            for failure in failures:
                console.print(render_failure(failure))
            said = "no law says anything of it" if ratio is None else f"largest err/bound {ratio:.3f}"
            verdict = f"{len(failures)} laws broken" if failures else said
            name = text if kept else "the problem"
            console.print(f"{name}: {asked.name} on {asked.device}: {verdict}", markup=False, highlight=False)
        codes.append(VIOLATION if failures else NOT_VERIFIED if ratio is None else NOTHING)
    return VIOLATION if VIOLATION in codes else max(codes)


def find_laws(names: Sequence[str]) -> list[Law]:
    """Return the laws with these names, or all laws without names. Raises UsageError for a name that no law has."""
    known = {law.name: law for law in LAWS}
    for name in names:
        if name not in known:
            raise UsageError(f"--law: {name!r} (must be one of {', '.join(known)})")
    return [known[name] for name in names or known]
