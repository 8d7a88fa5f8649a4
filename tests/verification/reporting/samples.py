"""Runs written by hand: one with everything that a report has to show, and one whose texts are hostile."""

from __future__ import annotations

from dataclasses import replace
from math import nan

import numpy as np

from tests.verification.samples import DECODE, PREFILL, one_head
from verification.oracle.difference import Difference, Element
from verification.problem import Problem, Special
from verification.problem.labels import LABELS
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import Finding
from verification.records.histogram import BINS, histogram
from verification.records.results import CellResult, Identity, State
from verification.reporting.events import (
    CellEnded,
    Event,
    FaultHunted,
    LawBroken,
    RoundEnded,
    RunEnded,
    RunReady,
    RunStarted,
    WorkerLost,
)
from verification.reporting.summary import Summary

HOSTILE = """<script>document.title='hacked'</script>"'&<img src=http://x.invalid/ onerror=alert(1)>"""
STATEMENT = "|out - exact| <= bound for every output element;\nNaN and Inf exactly where the exact result has them."
STARTED = RunStarted(
    "2026-03-01T12:00:00+00:00",
    7,
    command="attn-verify fuzz --minutes 2",
    minutes=2.0,
    workers=2,
    machine={"python": "3.12.4", "torch": "2.9.0", "cpu": "x86-64, 2 cores"},
)
ENDED = RunEnded(120.5, 1)


def cell(law: str, dtype: str, device: str = "cpu", **changes: object) -> CellResult:
    """One that ran, with ratios spread evenly over half octaves; `changes` say otherwise."""
    ratios = histogram(2.0 ** -np.linspace(0.1, 11, 500))
    held = CellResult(law, dtype, device, "attn_core/eager", 500, 20, 0.933, 2.0, digest=3, histogram=ratios)
    return replace(held, **changes)  # type: ignore[arg-type]


def coverage(*holes: tuple[int, int], problems: int = 40_000) -> Coverage:
    """Of many problems with every pair, but for `holes`."""
    counts = np.fromfunction(lambda a, b: 7 + (a * b * 37) % 20_000, (len(LABELS), len(LABELS)), dtype=np.int64)
    np.fill_diagonal(counts, problems)
    for a, b in holes:
        counts[a, b] = counts[b, a] = 0
    return Coverage(problems, counts)


def failure(problem: Problem, law: str = "agrees_with_reference", **changes: object) -> Failure:
    """Its third query, or the first of a decode, is off by half."""
    at = (("sequence", 0), ("token", min(2, problem.query_lens[0] - 1)), ("head", 1), ("dim", 0))
    worst = Element(at, 0.75, 0.25, 0.001)
    found = Finding(problem, law, "attn_core/eager", "cpu", f"3 of 32 elements out of bound\n  {worst}")
    off = Difference(worst, elements=32, wrong=3, above=2, below=1, nan=0, inf=0, number=0, mean_error=0.125)
    return replace(
        Failure(
            found,
            STATEMENT,
            off,
            as_if=("it saw nothing",),
            any_=("seed", "value fill"),
            lines=("attn_core/masks.py:12",),
            kept=f"findings/{found.file_name}",
        ),
        **changes,  # type: ignore[arg-type]
    )


def failures() -> list[Failure]:
    """A prefill, a decode with all that a block table can hold, a long prefill, one without an output."""
    planted = Special("k", 1, 0, 0, "nan")
    decode = replace(DECODE, key_lens=(5, 2), slot_mapping=(0, -1), block_tables=((2, 99, 0), (1, -1, 3)))
    missing = Finding(one_head("bfloat16"), "bad_input_is_refused", "attn_core/eager", "cuda", "raised nothing")
    return [
        failure(replace(PREFILL, specials=(planted,))),
        failure(decode, "visible_nan_appears"),
        failure(one_head(queries=300, keys=500)),
        Failure(missing, "Bad input raises ValueError.", not_kept="disk full"),
    ]


def events() -> list[Event]:
    """One run with violations, cells that could not run, planted faults and a pair that was never tried."""
    found = failures()
    broken = {(it.finding.law, it.finding.problem.dtype, it.finding.device) for it in found}
    rounds: list[RoundEnded] = []
    for law in ("agrees_with_reference", "visible_nan_appears", "cache_is_exact"):
        for dtype in ("float16", "float32"):
            text = "3 of 32 elements out of bound" if (law, dtype, "cpu") in broken else ""
            rounds += [RoundEnded(cell(law, dtype, failure=text))]
            rounds += [RoundEnded(CellResult(law, dtype, "cuda", "attn_core/eager", skipped="no CUDA device"))]
    survivor = FaultHunted("split-lost", "One split is lost.", problems=30_000, seconds=55.0)
    killed = FaultHunted(
        "mask-strict",
        "A query cannot see its own key.",
        "org/repo#1",
        "agrees_with_reference",
        "float16",
        3,
        0.02,
        2,
        "1 query",
    )
    results = [each.result for each in rounds]
    cells = tuple(result.cell for result in results if not result.skipped)
    told = [CellEnded(*result.cell, result.state, result.why) for result in results]
    states: dict[str, int] = {State.HELD: 4, State.BROKEN: 2, State.NOT_RUN: 6}
    ended = replace(ENDED, coverage=coverage((0, 5), (9, 40), (30, 60)), states=states)
    started = replace(STARTED, cells=cells)
    lost = WorkerLost("cache_is_exact", "float16", "cpu", "attn_core/eager", 4711, "died of SIGKILL")
    return [started, RunReady(8.0), *rounds, *map(LawBroken, found), lost, killed, survivor, *told, ended]


def summary() -> Summary:
    return Summary(events())


def passed() -> Summary:
    """Nothing broke."""
    rounds = [RoundEnded(cell(law, "float16")) for law in ("agrees_with_reference", "cache_is_exact")]
    return Summary([STARTED, *rounds, replace(ENDED, exit_code=0)])


def interrupted() -> Summary:
    return Summary([STARTED, RoundEnded(cell("cache_is_exact", "float16")), RunEnded(5.0, 130, interrupted=True)])


def cut_off() -> Summary:
    """No end of it is known."""
    return Summary([STARTED, RoundEnded(cell("cache_is_exact", "float16"))])


def outside() -> Summary:
    """Whatever was tried, its law said nothing."""
    reasons = {"the call has no cache": 7, "another reason": 2}
    result = cell("cache_is_exact", "float16", problems=9, outside=9, ratio=0.0, reasons=reasons)
    return Summary([STARTED, RoundEnded(result), RunEnded(5.0, 3)])


def cells() -> tuple[Identity, ...]:
    """Of two laws in two dtypes."""
    return tuple((law, dtype, "cpu", "x") for law in ("first", "second") for dtype in ("float16", "float32"))


def unreached(*ends: Event) -> Summary:
    """One of four cells was."""
    reached = replace(cell("first", "float16"), implementation="x")
    return Summary([replace(STARTED, cells=cells()), RoundEnded(reached), *ends])


def five() -> Summary:
    """A cell of each state."""
    held, silent = replace(cell("first", "float16"), implementation="x"), outside().results[0]
    broken = replace(held, law="second", failure="3 of 32 elements out of bound")
    silent = replace(silent, law="first", dtype="float32", implementation="x")
    missing = CellResult("first", "float16", "cuda", "x", skipped="no CUDA device")
    events = [RoundEnded(result) for result in (held, broken, silent, missing)]
    return Summary([replace(STARTED, cells=cells()), *events, replace(ENDED, exit_code=1)])


def only_corpus() -> Summary:
    """The cell of a replay names the law; it is none itself."""
    found = failure(PREFILL)
    replay = cell("corpus", "float16", failure=f"corpus/a.json: {found.finding.law}")
    return Summary([STARTED, RoundEnded(replay), LawBroken(found), ENDED])


def bare() -> Summary:
    """A broken cell whose problem is not known."""
    return Summary([STARTED, RoundEnded(cell("cache_is_exact", "float16", failure="lost")), ENDED])


def hunted(lives: bool) -> Summary:
    """Two planted faults."""
    faults = [FaultHunted("a", "One.", law="cache_is_exact"), FaultHunted("b", "Two.", law="" if lives else "x")]
    return Summary([STARTED, *faults, RunEnded(5.0, int(lives))])


def hostile() -> Summary:
    """Every text is `HOSTILE`, every number out of the ordinary."""
    worst = Element((("sequence", 0), ("token", 0), ("head", 0), ("dim", 0)), nan, float("inf"), 0.0)
    off = Difference(worst, 1, 1, 0, 0, 1, 0, 0, nan)
    finding = Finding(one_head(), HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    result = CellResult(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 5, 0, float("inf"), histogram=(1,) * BINS, failure=HOSTILE)
    silent = CellResult(HOSTILE, "float32", HOSTILE, HOSTILE, 5, 5, reasons={HOSTILE: 5})
    skipped = CellResult(HOSTILE, "float16", HOSTILE, HOSTILE, skipped=HOSTILE)
    return Summary(
        [
            replace(STARTED, command=HOSTILE, started=HOSTILE, machine={HOSTILE: HOSTILE}, cells=((HOSTILE,) * 4,)),
            RoundEnded(result),
            RoundEnded(silent),
            RoundEnded(skipped),
            RoundEnded(replace(result, ratio=nan, device="cpu")),
            LawBroken(Failure(finding, HOSTILE, off, *[(HOSTILE,)] * 3, HOSTILE, HOSTILE)),
            FaultHunted(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, words=HOSTILE),
            FaultHunted(HOSTILE, HOSTILE, HOSTILE),
            WorkerLost(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE),
            replace(ENDED, error=HOSTILE),
        ]
    )
