"""Findings as files: a problem, the law that broke on it, and whose. They outlive tests, strategies and databases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from verification.problem import Problem
from verification.problem.json_io import from_data, to_json
from verification.problem.reading import ProblemError, Reader, parsed, record, tuple_of
from verification.problem.reading import text as a_text

_TEXTS = ("law", "backend", "device", "message")
_SHIPPED = Path(__file__).parent
#: The problems that every run replays first, and the findings in released software: shipped with the package.
CORPUS, LEDGER = _SHIPPED / "corpus", _SHIPPED / "ledger"


READERS: dict[str, Reader] = {
    **dict.fromkeys(_TEXTS, a_text),
    "problem": lambda where, value: from_data(value),  # noqa: ARG005 (its fields have names of their own)
    "before": tuple_of(lambda where, value: from_data(value)),  # noqa: ARG005
}


@dataclass(frozen=True)
class Finding:
    """Problem on which a law broke. ``law`` is a name and may have been given up since; the problem is what counts. A
    bare problem has no texts.
    """

    problem: Problem
    """The problem, as small as it got."""
    law: str = ""
    """Name of the law."""
    backend: str = ""
    """Name under which the catalogue has the backend."""
    device: str = ""
    """Where it was asked."""
    message: str = ""
    """How the law broke."""
    before: tuple[Problem, ...] = ()
    """Calls that must come before it: in a fresh process the law holds without them."""

    @property
    def calls(self) -> tuple[Problem, ...]:
        """Return all problems that a replay asks, in order."""
        return (*self.before, self.problem)

    @property
    def file_name(self) -> str:
        """Return a name that is equal for equal problems under one law by one backend."""
        whose = " ".join([self.law, self.backend, self.device, *map(to_json, (self.problem, *self.before))])
        digest = sha256(whose.encode()).hexdigest()[:12]
        return f"{self.law or 'problem'}-{digest}.json"

    def to_dict(self) -> dict[str, Any]:
        """Return the data that `to_json` writes."""
        data = {name: getattr(self, name) for name in _TEXTS} | {"problem": json.loads(to_json(self.problem))}
        return data | ({"before": [json.loads(to_json(each)) for each in self.before]} if self.before else {})

    def to_line(self) -> str:
        """Return it on one line, for a command line; the message, which may quote, is left out."""
        return json.dumps({name: value for name, value in self.to_dict().items() if value and name != "message"})

    def to_json(self) -> str:
        """Return it as JSON, a line for each field."""
        fields = [f' "{name}": {json.dumps(getattr(self, name))}' for name in _TEXTS if getattr(self, name)]
        fields.append(f' "problem": {to_json(self.problem)}')
        if self.before:
            calls = ",\n  ".join(map(to_json, self.before))
            fields.append(f' "before": [{calls}]')
        return "{\n" + ",\n".join(fields) + "\n}\n"


def save(finding: Finding, folder: Path) -> Path:
    """Write it whole or not at all. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path, draft = folder / finding.file_name, folder / f".{finding.file_name}.draft"
    try:
        draft.write_text(finding.to_json(), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def load(path: Path) -> Finding:
    """Read what `save` wrote, or a bare problem. Raises ProblemError, one line that names the file and the field."""
    try:
        return read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ProblemError) as error:
        raise ProblemError(f"{path}: {str(error).splitlines()[0]}") from None


def read(text: str) -> Finding:
    """Read a finding from its text. What the ledger says beside it is left out (verification/records/entries.py)."""
    data = parsed(text)
    if isinstance(data, dict) and data.pop("entry", None) is not None and "problem" not in data:
        raise ProblemError("problem: missing (this entry of the ledger has a script alone)")
    if not isinstance(data, dict) or "problem" not in data:
        return Finding(from_data(data))
    finding: Finding = record(Finding, READERS, "", data)
    return finding


def load_folder(folder: Path) -> dict[str, Finding]:
    """Return every finding of a folder by file name. Raises ProblemError where there is no such folder."""
    if not folder.is_dir():
        raise ProblemError(f"{folder}: no such folder")
    return {path.name: load(path) for path in sorted(folder.glob("*.json"))}


def locate(path: Path) -> Path:
    """Return ``path``, or the file shipped with the package that ``corpus/NAME`` or ``ledger/NAME`` names, where there
    is no file at ``path`` itself.
    """
    shipped = _SHIPPED / path
    return shipped if path.parts[0] in ("corpus", "ledger") and not path.exists() and shipped.exists() else path


def shown(path: Path) -> str:
    """Return ``path`` as a person names it: `locate` undone."""
    return str(path.relative_to(_SHIPPED) if path.is_relative_to(_SHIPPED) else path)
