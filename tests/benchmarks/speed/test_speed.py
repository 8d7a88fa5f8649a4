"""Whoever is timed is right, and who is not is told from who is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import nan
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attn_core.notices import INDEX_LOG, RANGE_LOG
from benchmarks.speed import __main__ as speed
from benchmarks.speed import limits
from benchmarks.speed.cases import PHASES, Case, Phase, Size, make_case
from benchmarks.speed.contender import Contender, Prepared
from benchmarks.speed.limits import Limits
from benchmarks.speed.measure import ROUNDS, count_rounds
from benchmarks.speed.race import run_case
from benchmarks.speed.reference import Reference
from benchmarks.speed.results import Outcome, count_rows, has_failed
from benchmarks.speed.sizes import BATCHES, BLOCK_SIZES, CONTEXTS, list_sizes

LIMITS = Limits(copy=1e9, matmul=1e9)
CONTENDERS = {contender.name: contender for contender in speed.list_contenders()}
EVERY = [(name, phase) for name, contender in CONTENDERS.items() for phase in contender.phases]
CLOSE = {"float32": 1e-5, "bfloat16": 2e-2}


def size_of(phase: Phase, dtype: str = "float32", device: str = "cpu", batch: int = 3) -> Size:
    block_size = 0 if phase == "prefill" else 16
    return Size(phase, batch, 5, 70, block_size, dtype, device, num_heads=4, num_kv_heads=2, head_dim=16)


def dense(case: Case) -> Tensor:
    """Every row by itself, in float64."""
    size, rows, start = case.size, [], 0
    for i, length in enumerate(size.lengths):
        if size.phase == "prefill":
            k, v = (x[start : start + length].double() for x in (case.k, case.v))
            seen = [(start + place, place + 1) for place in range(length)]
            start += length
        else:
            table = case.context.block_tables[i].tolist()  # type: ignore[index]
            places = [(table[n // size.block_size], n % size.block_size) for n in range(length)]
            k, v = (torch.stack([cache[place] for place in places]).double() for cache in (case.k_cache, case.v_cache))
            seen = [(i, length)]
        for row, count in seen:
            heads = []
            for head in range(size.num_heads):
                group = head // (size.num_heads // size.num_kv_heads)
                scores = k[:count, group] @ case.q[row, head].double() / size.head_dim**0.5
                heads.append(scores.softmax(0) @ v[:count, group])
            rows.append(torch.stack(heads))
    return torch.stack(rows)


def outcome_of(*contenders: Contender, phase: Phase = "decode", min_seconds: float = 0.001) -> Outcome:
    return run_case(size_of(phase), contenders, LIMITS, min_seconds, lambda _: None)


def contender(name: str, function: Callable[[Case], Tensor], hidden: float = nan) -> Contender:
    return Contender(name, lambda case: Prepared(lambda: function(case)), hidden=hidden)


def _right(name: str, phase: Phase, dtype: str, device: str) -> None:
    tried, size = CONTENDERS[name], size_of(phase, dtype, device)
    if reason := tried.cannot(size):
        pytest.skip(reason)
    case = make_case(size)
    exact = dense(case)
    case.hide(tried.hidden)
    prepared = tried.prepare(case)
    with torch.no_grad(), prepared.around():
        for _ in range(2):
            got = prepared.call().reshape(exact.shape)
            assert float((got.double() - exact).abs().max()) < CLOSE[dtype]
    assert not Reference(case).check(got).wrong


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(("name", "phase"), EVERY)
def test_it_is_right(name: str, phase: Phase, dtype: str) -> None:
    _right(name, phase, dtype, "cpu")


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize(("name", "phase"), EVERY)
@pytest.mark.usefixtures("cuda_device")
def test_it_is_right_on_cuda(name: str, phase: Phase, dtype: str) -> None:
    _right(name, phase, dtype, "cuda")


@pytest.mark.parametrize("phase", PHASES)
def test_the_reference_is_exact(phase: Phase) -> None:
    """It compares rows of every sequence with what a loop over heads and rows gives."""
    case = make_case(size_of(phase))
    reference, exact = Reference(case), dense(case)
    assert len(reference.rows) >= 3
    assert float((reference.exact - exact[reference.rows]).abs().max()) < 1e-12
    assert reference.check(exact).largest < 1e-12


def test_a_row_that_is_wrong_says_so() -> None:
    """However it is wrong, and whatever it reads that is hidden."""
    out = [
        contender("percent off", lambda case: 1.01 * dense(case)),
        contender("one NaN", lambda case: dense(case).index_fill(0, torch.tensor([1]), nan)),
        contender("zeros", lambda case: torch.zeros_like(case.q)),
        replace(CONTENDERS["gather + sdpa"], hidden=nan),
        contender("right", dense),
    ]
    *wrong, right = outcome_of(*out).rows
    assert [row.wrong for row in wrong] == [True] * 4
    assert [row.error != row.error for row in wrong] == [False, True, False, True]
    assert not right.wrong
    text = speed.make_markdown([outcome_of(*out)], {})
    assert "| percent off |" in text
    assert "| WRONG " in text
    assert text.count("| NaN |") == 2
    assert "4 wrong" in text


def test_what_is_wrong_or_slower_is_not_the_best() -> None:
    outcome = outcome_of(contender("at once", lambda case: torch.zeros_like(case.q)), contender("right", dense))
    assert outcome.best_other == "right"
    assert outcome.times_faster(outcome.rows[1], "right") == 1
    assert outcome.times_faster(outcome.rows[1], "at once") is None


def test_a_failure_ends_one_row() -> None:
    """In its first call or in a later one; the others are timed, and the exit code knows."""

    def late(case: Case) -> Tensor:
        calls.append(case)
        if len(calls) > 2:
            raise RuntimeError("out of order\nin all its length")
        return dense(case)

    def never(case: Case) -> Prepared:  # noqa: ARG001
        raise ImportError("libwhatever.so")

    calls: list[Case] = []
    outcome = outcome_of(Contender("never", never), contender("late", late), contender("right", dense))
    first, second, third = outcome.rows
    assert first.failed == "ImportError: libwhatever.so"
    assert second.failed == "RuntimeError: out of order"
    assert first.seconds is second.seconds is None
    assert third.seconds
    assert has_failed([outcome])
    assert count_rows([outcome]) == {"timed": 1, "wrong": 0, "skipped": 0, "failed": 2}


def test_only_ours_must_be_right() -> None:
    zeros = contender("zeros", lambda case: torch.zeros_like(case.q))
    assert not has_failed([outcome_of(zeros)])
    assert has_failed([outcome_of(replace(zeros, ours=True))])


def test_who_does_not_run_says_why() -> None:
    """For want of memory as well; nobody stands under a phase that is not theirs."""
    greedy = replace(contender("greedy", dense), needs=lambda _: 2**60)
    rows = {row.contender: row for row in outcome_of(*CONTENDERS.values(), greedy).rows}
    assert rows["greedy"].skipped == "needs 1073741824.0 GiB"
    assert rows["flex paged"].skipped
    assert rows["varlen_attn"].skipped
    assert all(row.skipped or row.seconds for row in rows.values())
    assert "flex paged" not in {row.contender for row in outcome_of(*CONTENDERS.values(), phase="prefill").rows}


def test_they_take_turns() -> None:
    """Round by round, so that a machine that slows down slows all; not in one order, so that nobody always pays for who
    was before.
    """
    order: list[str] = []

    def named(name: str) -> Contender:
        def call(case: Case) -> Tensor:
            order.append(name)
            return torch.zeros_like(case.q)

        return contender(name, call)

    outcome_of(named("a"), named("b"), min_seconds=0.05)
    turns = sum(before != after for before, after in pairwise(order))
    assert ROUNDS + 2 <= turns < 2 * (ROUNDS + 2) - 1
    assert [count_rounds(seconds, 1.0) for seconds in (0.01, 2.0, 100.0)] == [ROUNDS, 2, 1]


def test_hidden_places_are_hidden() -> None:
    """Every slot is either seen by one sequence, once, or hidden; blocks are in no order."""
    case = make_case(size_of("decode", batch=5))
    assert case.context.block_tables is not None
    slots = torch.arange(case.k_cache[..., 0, 0].numel()).view(len(case.k_cache), -1)
    seen = torch.cat(
        [slots[row].flatten()[:n] for row, n in zip(case.context.block_tables, case.size.lengths, strict=True)]
    )
    assert torch.equal(torch.cat([seen, case.hidden]).sort().values, slots.flatten())
    assert not torch.equal(seen, seen.sort().values)
    for cache in (case.k_cache, case.v_cache):
        assert bool(cache.flatten(0, 1)[case.hidden].isnan().all())
        assert bool(cache.flatten(0, 1)[seen].isfinite().all())
    case.hide(0.0)
    assert bool(case.k_cache.isfinite().all())
    assert case.size.kv_bytes == 2 * 4 * case.k_cache.flatten(0, 1)[seen].numel()


def test_lengths_are_spread() -> None:
    assert sorted(size_of("decode", batch=4).lengths) == [5, 27, 48, 70]
    assert size_of("decode", batch=1).lengths == [70]
    assert size_of("decode", batch=9).lengths == size_of("prefill", batch=9).lengths


def test_quiet_is_quiet_for_its_calls_alone() -> None:
    prepared = CONTENDERS["sdpa"].prepare(make_case(size_of("decode")))
    logs = (RANGE_LOG, INDEX_LOG)
    with prepared.around():
        assert not any(log.isEnabledFor(logging.WARNING) for log in logs)
    assert all(log.isEnabledFor(logging.WARNING) for log in logs)


def test_the_grid_is_the_issues() -> None:
    options = speed.parse(["--device", "cuda", "--full", "--phase", "decode"], [])
    tried = {(s.batch, (s.low, s.high), s.block_size) for s in list_sizes(options)}
    assert tried == {(b, c, s) for b in BATCHES for c in CONTEXTS for s in BLOCK_SIZES}
    some = speed.parse(["--device", "cuda", "--phase", "decode"], [])
    assert {(s.batch, (s.low, s.high), s.block_size) for s in list_sizes(some)} < tried | {(16, (512, 2048), 16)}


def test_named_sizes_go_with_the_others_defaults() -> None:
    options = speed.parse(["--device", "cpu", "--batch", "1", "8", "--batch", "9", "--dtype", "float32"], [])
    assert [(s.phase, s.batch, s.low, s.high, s.block_size) for s in list_sizes(options)] == [
        *(("prefill", batch, 64, 1024, 0) for batch in (1, 8, 9)),
        *(("decode", batch, 1024, 2048, 16) for batch in (1, 8, 9)),
    ]


@pytest.fixture
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.COPIED, "cpu", 2**20)
    monkeypatch.setitem(limits.SIDE, "cpu", 64)


TINY = ("--device", "cpu", "--contexts", "8-20", "--batch", "1", "3", "--dtype", "float32", "--min-seconds", "0.001")


@pytest.mark.usefixtures("_small_limits")
def test_a_run_writes_its_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {name: tmp_path / "made" / f"speed.{name}" for name in ("json", "markdown", "svg")}
    files = ("--json", str(paths["json"]), "--markdown", str(paths["markdown"]), "--plot", str(paths["svg"]))
    assert speed.main([*TINY, *files]) == 0
    shown = capsys.readouterr().out
    assert "skipped: not installed" in shown or all(name in shown for name in ("flash_attn", "FlashInfer"))
    report = json.loads(paths["json"].read_text())
    assert [(case["phase"], case["batch"]) for case in report["cases"]] == [
        (phase, batch) for phase in PHASES for batch in (1, 3)
    ]
    assert report["tally"]["wrong"] == report["tally"]["failed"] == 0
    for case in report["cases"]:
        assert all(row["skipped"] or row["seconds"] for row in case["rows"])
        assert {"eager", "sdpa", "sdpa loop"} <= {row["contender"] for row in case["rows"]}
    assert paths["markdown"].read_text().count("\n### ") == 4
    drawn = paths["svg"].read_text()
    assert "the machine" in drawn
    assert "sdpa loop" in drawn


@pytest.mark.usefixtures("_small_limits")
def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> Prepared:  # noqa: ARG001
        raise RuntimeError("no")

    def unmade(size: Size) -> Case:  # noqa: ARG001
        raise MemoryError("no case")

    report = tmp_path / "speed.json"
    assert speed.main([*TINY, "--phase", "decode"], [Contender("broken", broken)]) == speed.FAILED
    assert speed.main([*TINY], [replace(CONTENDERS["sdpa"], cannot=lambda _: "out")]) == speed.NOTHING_RUN
    monkeypatch.setattr("benchmarks.speed.race.make_case", unmade)
    assert speed.main([*TINY, "--json", str(report)], [CONTENDERS["sdpa"]]) == speed.FAILED
    assert "MemoryError: no case" in report.read_text()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert speed.main(["--device", "cuda"]) == speed.NOTHING_RUN


@pytest.mark.parametrize("arguments", [["--contexts", "9-8"], ["--contexts", "x"], ["--contender", "nobody"]])
def test_nonsense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        speed.main(arguments)


def test_the_harness_is_timed_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        assert speed.main(["--harness", "--examples", "2", "--seconds", "0.01", "--dtype", "float32"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert "problems/s" in capsys.readouterr().out
