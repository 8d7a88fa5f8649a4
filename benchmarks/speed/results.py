"""The results of a case, a row for each contender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.speed.cases import Size
from benchmarks.speed.limits import Limits

# The contender that stands for what one would write first.
PLAIN = "sdpa loop"


@dataclass(frozen=True)
class Row:
    """The result of one contender in one case."""

    contender: str
    """Name of the contender."""
    ours: bool
    """True for `attn_core`'s layer."""
    seconds: float | None = None
    """Median seconds a call."""
    fastest: float | None = None
    """Least seconds a call of all rounds."""
    peak: int | None = None
    """Bytes that a call takes beside what was there before; None on a CPU."""
    error: float | None = None
    """Largest error; NaN if the output holds one."""
    wrong: bool = False
    """True if the error is more than rounding."""
    note: str = ""
    """Remark of the contender."""
    skipped: str = ""
    """Reason why the contender was not tried."""
    failed: str = ""
    """Exception that ended the row."""

    @property
    def state(self) -> str:
        """Return why the row's time, if there is one, is not to be compared; an empty text if it is."""
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
        """Return the least seconds by the machine's limit: a decode reads keys and values, a prefill multiplies."""
        if self.size.phase == "decode":
            return self.size.kv_bytes / self.limits.copy
        return self.size.flops / self.limits.matmul

    def share(self, row: Row) -> float | None:
        """Return the share of the machine's limit that a row reaches."""
        return self.least_seconds / row.seconds if row.seconds else None

    def times_faster(self, row: Row, than: str) -> float | None:
        """Return how many times as fast a row is as the row named ``than``, which must be right."""
        seconds = [r.seconds for r in self.rows if r.contender == than and r.seconds and not r.wrong]
        return seconds[0] / row.seconds if seconds and row.seconds else None

    @property
    def best_other(self) -> str:
        """Return the name of the quickest row that is right and not ours."""
        right = [row for row in self.rows if row.seconds and not row.ours and not row.wrong]
        return min(right, key=lambda row: row.seconds or 0).contender if right else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers; NaN and Inf as text, since JSON has none."""
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
    """Return how many rows were timed, and how many were wrong, skipped or failed."""
    rows = [row for outcome in outcomes for row in outcome.rows]
    counts = {name: sum(bool(getattr(row, name)) for row in rows) for name in ("wrong", "skipped", "failed")}
    return {"timed": sum(row.seconds is not None for row in rows), **counts}


def has_failed(outcomes: Sequence[Outcome]) -> bool:
    """Return True if a row failed, or if one of ours is wrong."""
    return any(row.failed or (row.ours and row.wrong) for outcome in outcomes for row in outcome.rows)


def mark_failed(row: Row, error: BaseException) -> Row:
    """Return the row with the first line of what was raised."""
    line = next(iter(str(error).strip().splitlines()), "")
    return replace(row, failed=f"{type(error).__name__}: {line}".rstrip(": ")[:200])  # a row is one line
