"""``attn-verify script``: a violation as one file that runs without us."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from properties.commands.errors import UsageError
from properties.commands.given import backend_given, finding_given
from properties.show.recorded import script
from verification.backends.flags import settle


def scripted(given: str, backend: str, device: str, law: str, output: Path | None, crash_after: float | None) -> int:
    """Raises ProblemError, UnknownBackend, ScriptError, and UsageError where the file cannot be written."""
    settle()
    finding = finding_given(given)
    text = script(finding, law, backend_given(finding, backend, device, crash_after))
    if output is None:
        Console().out(text, end="", highlight=False)
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output: {output} ({error.strerror or error})") from None
    return 0
