"""Reports of planted faults of seven families, as a page: what a person sees, the file, what its script says.

``python -m tests.quality.reports`` writes docs/reports.md anew, after a change of a report.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from properties.laws import LAWS
from properties.run.worker import CORPUS, Task, replay, run_task
from properties.show.recorded import write_script
from tests.verification.isolated import Ended, run_isolated
from verification.catalogue import backend_named
from verification.faults import FAULTS
from verification.records import findings
from verification.records.failure import Failure
from verification.records.findings import load
from verification.reporting.broken import render_failure

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reports.md"
CHOSEN = (
    *("mask-one-future", "scale-twice", "slot-wraps", "table-tail-read", "gqa-tile", "ragged-cu-q-for-k", "lse-base2"),
)
_TOP = """# What a finding looks like

Seven planted faults, one of a family each: the report in a terminal, the file that is kept, and what the script
(`attn-verify script FILE`) says, which runs without this project. Made by `python -m tests.quality.reports`; a test
keeps it true.
"""


def report(fault: str) -> str:
    """As ``attn-verify replay corpus/FAULT.json --law LAW`` prints it."""
    path = findings.CORPUS / f"{fault}.json"
    finding = load(path)
    law = next(law for law in LAWS if law.name == finding.law)
    _, [failure] = replay(finding.problem, backend_named(fault), [law])
    return _printed(replace(failure, kept=f"corpus/{fault}.json"))


def report_of_run(fault: str) -> str:
    """As ``attn-verify fuzz --backend FAULT`` ends: of what broke on the corpus, the first."""
    failure = run_task(Task(CORPUS, "float16", fault, "cpu", corpus=findings.CORPUS)).failures[0]
    return _printed(replace(failure, kept=f"corpus/{Path(failure.kept).name}"))


def _printed(failure: Failure) -> str:
    stream = io.StringIO()
    Console(file=stream, width=110, color_system=None).print(render_failure(failure))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def scripts(folder: Path) -> dict[str, Ended]:
    """How each of them ended, in an interpreter that has numpy and torch alone."""
    texts = {name: write_script(load(findings.CORPUS / f"{name}.json"), "", backend_named(name)) for name in CHOSEN}
    return run_isolated(texts, folder)


def section(fault: str, ended: Ended) -> str:
    """All three."""
    path = findings.CORPUS / f"{fault}.json"
    what = " ".join(FAULTS[fault].sentence.split())
    parts = [
        f"## {fault}",
        f"Planted: {what}",
        f"```text\n{report(fault)}\n```",
        f"`corpus/{fault}.json`:",
        f"```json\n{path.read_text().strip()}\n```",
        f"`attn-verify script corpus/{fault}.json > report.py && python report.py`, with numpy and torch alone:",
        f"```text\n{ended.printed.strip()}\n{ended.error}\n```",
    ]
    return "\n\n".join(parts)


def made(folder: Path) -> str:
    sections = [section(fault, ended) for fault, ended in scripts(folder).items()]
    return "\n\n".join([_TOP.strip(), *sections]) + "\n"


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        PAGE.write_text(made(Path(folder)))
    sys.stdout.write(f"{PAGE}\n")
