"""``attn-verify hunt``: mutants of a kernel, each hunted until a law breaks."""

from __future__ import annotations

import json as json_lib
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from properties.commands.errors import UsageError
from properties.run.hunted import Hunted, hunt_each
from properties.run.session import NOTHING, cores
from verification.backends.flags import settle
from verification.catalogue import backend_named, cannot_run


def run_hunt(
    names: Sequence[str],
    device: str,
    seed: int,
    minutes: float | None,
    workers: int | None,
    crash_after: float | None,
    json: bool,
) -> int:
    """Print which backends are killed and which survive. Return 0 whatever becomes of them: that is what is measured.

    Raises UnknownBackend, UsageError and ClaimError.
    """
    settle()
    if reason := cannot_run(device):
        raise UsageError(f"--device: {device!r} ({reason})")
    for name in names:
        backend_named(name, device)  # raises for a misspelt one before another is hunted for minutes
    seconds = 60 * minutes if minutes else None
    workers = min(workers or cores(), len(names))
    hunts, console, errors = [], Console(), Console(stderr=True)
    for found in hunt_each(names, device, seed, seconds, crash_after, workers):
        hunts.append(found)
        verdict = f"killed by {found.law} in {found.dtype}" if found.killed else "SURVIVED"
        measured = f"{found.problems:,} problems, {found.seconds:.1f} s"
        line = f"[{len(hunts)}/{len(names)}] {found.backend}: {verdict}, {measured}"
        (errors if json else console).print(line, markup=False, highlight=False)
    killed = sum(found.killed for found in hunts)
    if json:
        data = {"seed": seed, "device": device, "killed": killed, "hunts": [found.to_dict() for found in hunts]}
        console.out(json_lib.dumps(data, indent=1), highlight=False)
        return NOTHING
    console.print(_make_table(hunts))
    console.print(f"{killed} of {len(hunts)} killed; seed {seed}", markup=False, highlight=False)
    return NOTHING


def _make_table(hunts: Sequence[Hunted]) -> Table:
    table = Table("backend", "killed by", "dtype", "problems", "seconds", "the smallest problem")
    for found in hunts:
        law = Text(found.law or "SURVIVED", style="" if found.killed else "bold red")
        row = (Text(found.backend), law, found.dtype, f"{found.problems:,}", f"{found.seconds:.1f}", Text(found.words))
        table.add_row(*row)
    return table
