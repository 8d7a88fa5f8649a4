"""Ledger of findings in released software, a file and a script each. A script needs only the package and
ends with 1 where the defect is there and with 0 where it is not, both after a line ``got ..., owed ...``, and with 2
after a line ``needs ...`` where this machine cannot show it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from verification.problem.printable import printable
from verification.problem.reading import ProblemError, Reader, one_of, parsed, record, tuple_of
from verification.problem.reading import text as a_text
from verification.records.findings import Finding, read

KINDS = ("broken promise", "unwise")
_STARTS = {0: "got ", 1: "got ", 2: "needs "}
READERS: dict[str, Reader] = {
    **dict.fromkeys(("page", "package", "seen"), a_text),
    "kind": one_of(KINDS),
    "needs": tuple_of(a_text),
}


@dataclass(frozen=True)
class Entry:
    """Finding of the ledger."""

    page: str
    """Link to where it is told."""
    package: str
    """The package that has the defect."""
    seen: str
    """The version of the package that was tried."""
    kind: str
    """One of `KINDS`."""
    needs: tuple[str, ...] = ()
    """Packages that its script imports as well."""
    script: Path = Path()
    """The script that shows it."""
    finding: Finding | None = None
    """Its problem, where it has one. Where no law is named it is a problem that our judge finds nothing wrong with."""

    @property
    def name(self) -> str:
        return self.script.stem

    @property
    def number(self) -> str:
        """Return the number of its section in the page."""
        return self.name.split("-")[0].lstrip("0")


@dataclass(frozen=True)
class Answer:
    """Answer of a script: ``code`` as above, None where it ended in any other way; ``line`` says it in a line."""

    code: int | None
    line: str


def load(path: Path) -> Entry:
    """Read a finding's file with an ``entry``. Raises ProblemError, which names file and field."""
    try:
        text = path.read_text(encoding="utf-8")
        data = parsed(text, "entry")
        entry: Entry = record(Entry, READERS, "entry.", data.get("entry") if isinstance(data, dict) else None)
        finding = None if data.keys() == {"entry"} else read(text)
    except (OSError, UnicodeDecodeError, ProblemError) as error:
        raise ProblemError(f"{path}: {str(error).splitlines()[0]}") from None
    return replace(entry, script=path.with_suffix(".py"), finding=finding)


def entries(folder: Path) -> list[Entry]:
    """Return all entries in the page's order. Raises ProblemError, also where there are none."""
    found = [load(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise ProblemError(f"{folder}: holds no entry (*.json)")
    return found


def run_script(entry: Entry, seconds: float) -> Answer:
    """Run the entry's script by this interpreter in a process of its own, and return what it says."""
    try:
        ran = subprocess.run(
            [sys.executable, str(entry.script)], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(None, f"no answer within {seconds:g} s")
    # An exception ends with 1 as well: only what is said tells a defect from a script that no longer runs.
    start = _STARTS.get(ran.returncode, "got ")
    said = [line for line in ran.stdout.splitlines() if line.startswith(start)]
    if ran.returncode in _STARTS and said:
        return Answer(ran.returncode, printable(said[-1]))
    last = (ran.stderr.strip() or ran.stdout.strip() or "it said nothing").splitlines()[-1]
    return Answer(None, printable(f"exit code {ran.returncode}: {last}"))
