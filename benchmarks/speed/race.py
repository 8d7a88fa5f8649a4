"""One case: every contender is tried once, those that are left are timed in turn, then each answers for its output."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from random import Random
from statistics import median

import torch

from benchmarks.speed.cases import Case, Size, make_case
from benchmarks.speed.contender import Contender, Prepared
from benchmarks.speed.limits import GIB, Limits
from benchmarks.speed.measure import count_free_bytes, count_rounds, measure_time_and_peak, time_one_round
from benchmarks.speed.reference import Reference
from benchmarks.speed.results import Outcome, Row, mark_failed

# Bytes that stay free, for what an estimate leaves out.
SPARE = GIB // 2
# Seconds: on a CPU a first call that takes longer is not made again before it is timed.
SLOW = 5.0
Progress = Callable[[str], object]


@dataclass
class _Runner:
    """A contender on its way through a case."""

    contender: Contender
    row: Row
    prepared: Prepared | None = None
    estimate: float = 0.0
    times: list[float] = field(default_factory=list)

    @contextmanager
    def keep_errors_to_this_row(self, case: Case) -> Iterator[None]:
        """Let whatever a ``with`` block raises end this row and nothing else."""
        around = self.prepared.around if self.prepared else nullcontext
        try:
            case.hide(self.contender.hidden)
            with torch.no_grad(), around():
                yield
        except torch.OutOfMemoryError:
            self.row = replace(self.row, skipped="out of memory")
        except Exception as error:
            self.row = mark_failed(self.row, error)
        if self.row.state:
            self.prepared = None
            release_memory(case.size.device)

    def make_first_calls(self, case: Case) -> None:
        """Make the first calls, which may compile; none of them counts as time."""
        device, needs = case.size.device, self.contender.needs(case.size)
        if needs + SPARE > count_free_bytes(device):
            self.row = replace(self.row, skipped=f"needs {_format_gib(needs)}")
            return
        with self.keep_errors_to_this_row(case):
            prepared = self.contender.prepare(case)
            self.row = replace(self.row, note=prepared.note)
            self.prepared = prepared
        if self.prepared:
            with self.keep_errors_to_this_row(case):
                self.estimate, peak = measure_time_and_peak(self.prepared.call, device)
                if device == "cuda" or self.estimate < SLOW:
                    self.estimate, peak = measure_time_and_peak(self.prepared.call, device)
                self.row = replace(self.row, peak=peak)

    def time_one_round(self, case: Case, min_seconds: float) -> None:
        """Time one round."""
        if self.prepared:
            with self.keep_errors_to_this_row(case):
                self.times += time_one_round(self.prepared.call, case.size.device, self.estimate, min_seconds)

    def check_output(self, case: Case, reference: Reference) -> None:
        """Check the output of one more call, and complete the row."""
        if self.prepared:
            with self.keep_errors_to_this_row(case):
                checked = reference.check(self.prepared.call())
                judged = replace(self.row, error=checked.largest, wrong=checked.wrong)
                self.row = replace(judged, seconds=median(self.times), fastest=min(self.times))


def run_case(
    size: Size, contenders: Sequence[Contender], limits: Limits, min_seconds: float, said: Progress
) -> Outcome:
    """Time every contender in one case; whatever cannot run says why in its row."""
    fitting = [contender for contender in contenders if size.phase in contender.phases]
    runners = [_Runner(c, Row(c.name, c.ours, skipped=c.cannot(size))) for c in fitting]
    if count_case_bytes(size) + SPARE > count_free_bytes(size.device):
        for runner in runners:
            runner.row = replace(
                runner.row, skipped=runner.row.skipped or f"the case needs {_format_gib(count_case_bytes(size))}"
            )
        return Outcome(size, limits, tuple(runner.row for runner in runners))
    case = make_case(size)
    reference = Reference(case)
    for runner in runners:
        if not runner.row.state:
            said(f"{size}: {runner.contender.name}, first call")
            runner.make_first_calls(case)
    running = [runner for runner in runners if runner.prepared]
    for number in range(max((count_rounds(runner.estimate, min_seconds) for runner in running), default=0)):
        # Another order each time: who comes after a contender that leaves the machine cold or cluttered pays for it.
        for runner in Random(number).sample(running, len(running)):
            if number < count_rounds(runner.estimate, min_seconds):
                said(f"{size}: {runner.contender.name}, round {number + 1}")
                runner.time_one_round(case, min_seconds)
    for runner in running:
        runner.check_output(case, reference)
    return Outcome(size, limits, tuple(runner.row for runner in runners), _note_cache_fit(size))


def count_case_bytes(size: Size) -> int:
    """Return the bytes of a case's tensors, with a tenth of the blocks unused, and of the reference's widest step."""
    width = size.torch_dtype.itemsize
    tokens = sum(size.lengths) if size.phase == "prefill" else size.batch
    # Eight tensors of float64, for the keys and values of the longest sequence and what is made of them.
    widest = 8 * 8 * size.high * size.num_kv_heads * size.head_dim
    return round(1.15 * size.kv_bytes) + 2 * tokens * size.num_heads * size.head_dim * width + widest


def release_memory(device: str) -> None:
    """Give back the memory that nobody holds."""
    gc.collect()
    if device == "cuda":
        with suppress(Exception):  # a device that has broken down says so in the next row
            torch.cuda.empty_cache()


def _note_cache_fit(size: Size) -> str:
    """Return a note if the keys and values of a decode fit the device's cache."""
    if size.device != "cuda" or size.phase != "decode":
        return ""
    near = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)
    fits = f"keys and values fit the L2 cache ({near / 2**20:.0f} MiB): calls in a row may pass the copy speed"
    return fits if size.kv_bytes < near else ""


def _format_gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB"
