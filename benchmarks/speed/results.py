"""What a contender came to in one case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.speed.cases import Size
from benchmarks.speed.limits import Limits

PLAIN = "sdpa loop"


@dataclass(frozen=True)
class Row:
    """``seconds`` is the median, ``fastest`` the least of all rounds. ``error`` is the largest, NaN where the output
    holds one; ``wrong`` says that it is more than rounding. ``skipped`` says why it was not tried, ``failed`` which
    exception ended it.
    """

    contender: str
    ours: bool
    seconds: float | None = None
    fastest: float | None = None
    peak: int | None = None
    error: float | None = None
    wrong: bool = False
    note: str = ""
    skipped: str = ""
    failed: str = ""

    @property
    def state(self) -> str:
        """Why its time, if there is one, is not to be compared; empty where it is."""
        return self.skipped or self.failed or ("wrong" if self.wrong else "")


@dataclass(frozen=True)
class Outcome:
    """All rows of one case."""

    size: Size
    limits: Limits
    rows: tuple[Row, ...]
    note: str = ""

    @property
    def least_seconds(self) -> float:
        """By the machine's limit: a decode reads its keys and values, a prefill multiplies."""
        if self.size.phase == "decode":
            return self.size.kv_bytes / self.limits.copy
        return self.size.flops / self.limits.matmul

    def share(self, row: Row) -> float | None:
        """Of the machine's limit."""
        return self.least_seconds / row.seconds if row.seconds else None

    def times_faster(self, row: Row, than: str) -> float | None:
        """Than the row of that name, which must be right."""
        seconds = [r.seconds for r in self.rows if r.contender == than and r.seconds and not r.wrong]
        return seconds[0] / row.seconds if seconds and row.seconds else None

    @property
    def best_other(self) -> str:
        """The quickest that is right and not ours."""
        right = [row for row in self.rows if row.seconds and not row.ours and not row.wrong]
        return min(right, key=lambda row: row.seconds or 0).contender if right else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers; NaN and Inf as text, since JSON has none."""
        size = {name: getattr(self.size, name) for name in self.size.__dataclass_fields__}
        rows = []
        for row in self.rows:
            shown = {name: getattr(row, name) for name in row.__dataclass_fields__}
            if row.error is not None and not abs(row.error) < float("inf"):
                shown["error"] = str(row.error)
            shown["share_of_limit"] = self.share(row)
            rows.append(shown)
        limits = {"copy_bytes_per_second": self.limits.copy, "matmul_flops_per_second": self.limits.matmul}
        work = {"kv_bytes": self.size.kv_bytes, "flops": self.size.flops, "least_seconds": self.least_seconds}
        return {**size, **work, "limits": limits, "note": self.note, "rows": rows}


def count_rows(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many rows were timed and right, wrong, skipped, failed."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    counts = {name: sum(bool(getattr(row, name)) for row in rows) for name in ("wrong", "skipped", "failed")}
    return {"timed": sum(row.seconds is not None for row in rows), **counts}


def has_failed(outcomes: Sequence[Outcome]) -> bool:
    """A row that failed, or one of ours that is wrong."""
    return any(row.failed or (row.ours and row.wrong) for outcome in outcomes for row in outcome.rows)


def mark_failed(row: Row, error: BaseException) -> Row:
    """With the first line of what was raised."""
    line = next(iter(str(error).strip().splitlines()), "")
    return replace(row, failed=f"{type(error).__name__}: {line}".rstrip(": ")[:200])
