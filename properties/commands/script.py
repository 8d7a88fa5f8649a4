"""``attn-verify script``: a violation as one file that runs without us."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from properties.commands.errors import UsageError
from properties.commands.given import open_given, read_finding
from properties.commands.output import take_stdout
from properties.show.recorded import write_script
from verification.backends.flags import settle


def run_script(given: str, backend: str, device: str, law: str, output: Path | None, crash_after: float | None) -> int:
    """Print or write the script of a violation, and return 0.

    Raises ProblemError, UnknownBackend, ClaimError, ScriptError, and UsageError where the file cannot be written.
    """
    settle()
    finding, console = read_finding(given), Console(file=take_stdout() if output is None else None)
    opened = open_given(finding, backend, device, crash_after)
    text = write_script(replace(finding, backend=backend or finding.backend), law, opened)
    if output is None:
        console.out(text, end="", highlight=False)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output: {output} ({error.strerror or error})") from None
    return 0
