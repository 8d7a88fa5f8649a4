"""Messages of a failing test, in plain text: the broken laws."""

from __future__ import annotations

from inspect import isfunction
from pathlib import Path
from shlex import quote
from textwrap import indent, shorten
from traceback import format_exception

import torch

from properties.check.checked import Checked
from properties.laws.law import Law
from properties.run.round import Broken
from verification.oracle.diagnosis import explanations
from verification.oracle.judge import Violation
from verification.problem.describe import describe
from verification.problem.json_io import to_json
from verification.tensors.inputs import make_inputs

# The most explanations to show: the more mistakes would give the number, the less each of them explains.
_MOST_REASONS = 4
# Columns of the line of each further broken law, which pytest indents by 8.
_LINE = 110
_HOME = Path(__file__).parents[2]
_HARNESS = (*(_HOME / name for name in ("attn_core", "properties", "verification")), Path(torch.__file__).parent)


def write_failure(checked: Checked, law: Law, broken: Broken, kernel: object) -> str:
    """Return the message: the first broken law in full, a line for each other one, and the counts of cells by state."""
    first, *others = checked.in_state("broken")
    lines = [f"{checked.kernel} on {checked.device} breaks {first.law} in {first.dtype}"]
    lines += ["", explain_broken(law, broken, kernel, checked.device), ""]
    found: dict[str, list[str]] = {}
    for cell in others:
        found.setdefault(cell.law, [cell.why]).append(cell.dtype)
    lines += ["Broken too:"] * bool(found)
    for name, (why, *dtypes) in found.items():
        lines.append("  " + shorten(f"{name} in {', '.join(dtypes)}: {why}", _LINE))
    return "\n".join([*lines, f"Cells: {checked.counts}"])


def explain_broken(law: Law, broken: Broken, kernel: object, device: str) -> str:
    """Return a broken law in full: its statement, the violation, the kernel's exception, the problem, and a replay."""
    violation, problem = broken.violation, broken.problem
    lines = [indent(law.statement, "  "), "", str(violation)]
    if violation.difference and (as_if := explanations(make_inputs(problem), violation.difference.worst)):
        lines.append(f"It is as if {', or '.join(as_if[:_MOST_REASONS])}.")
    if violation.__cause__:
        lines += ["", *(line.rstrip() for line in format_exception(_cut_traceback(violation.__cause__)))]
    if broken.lines:
        lines += ["", "Only when it breaks, these lines run:", *(f"  {line}" for line in broken.lines)]
    lines += ["", "It breaks on this problem:", indent(describe(problem), "  ")]
    return "\n".join([*lines, "", "Replay it:", f"  {write_replay(law, to_json(problem), kernel, device)}"])


def write_replay(law: Law, problem: str, kernel: object, device: str) -> str:
    """Return the command that replays the problem, or for a kernel without a name the call of `check_kernel`."""
    elsewhere = device != "cpu"
    if isinstance(kernel, str):
        where = f" --device {device}" if elsewhere else ""
        return f"attn-verify replay --backend {quote(kernel)}{where} --law {law.name} {quote(problem)}"
    name = kernel.__name__ if isinstance(kernel, type) or isfunction(kernel) else f"{type(kernel).__name__}(...)"
    where = f', device="{device}"' if elsewhere else ""
    return f'check_kernel({name}, laws="{law.name}", problems={problem!r}{where})'


def _cut_traceback(error: BaseException) -> BaseException:
    """Cut a kernel's exception down to the kernel's own frames, and return it.

    The frames of the harness and of torch that called the kernel go, and so do violations that were found before.
    """
    kept = error.__traceback__
    while kept and any(Path(kept.tb_frame.f_code.co_filename).is_relative_to(folder) for folder in _HARNESS):
        kept = kept.tb_next
    at = error
    while at.__context__ is not None and not isinstance(at.__context__, Violation):
        at = at.__context__
    at.__context__ = None
    return error.with_traceback(kept or error.__traceback__)
