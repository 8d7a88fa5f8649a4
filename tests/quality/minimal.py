"""The minimal problems of some faults, one of each family, kept as a text that a person can check.

``python -m tests.quality.minimal`` writes it anew, after a change of the generators or of the shrinking.
"""

from __future__ import annotations

from pathlib import Path

from properties.run.hunt import hunt
from verification.faults import FAULTS
from verification.problem.describe import describe

SNAPSHOT = Path(__file__).with_suffix(".txt")
CHOSEN = (
    "mask-one-future",
    "mask-row-by-group",
    "softmax-no-shift",
    "slot-wraps",
    "slot-first-wins",
    "table-slides",
    "table-tail-weight0",
    "table-int16",
    "gqa-tile",
    "scale-padded-dim",
    "ragged-empty-shifts",
    "memo-by-shape",
    "lse-both-empty",
    "log-one-sided",
)
SEED = 0


def minimal(fault: str) -> str:
    """What is left of the first problem that kills it."""
    found = hunt(FAULTS[fault].backend(), SEED)
    assert found.kill is not None, fault
    assert found.broken is not None
    lines = describe(found.broken.problem).splitlines()
    return "\n".join((f"{fault}: {found.kill.law}", *(f"    {line}" for line in lines)))


if __name__ == "__main__":
    SNAPSHOT.write_text("\n\n".join(map(minimal, CHOSEN)) + "\n")
