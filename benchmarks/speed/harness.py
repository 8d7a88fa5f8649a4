"""Problems per second on one core, on the default mix: of one law in steps, draw + materialise + run + reference +
bound + judge, and of all laws together. And what a call takes longer in a process of its own.

``python -m benchmarks.speed --harness [--examples N] [--seconds S] [--dtype D ...] [--device DEVICE] [--seed N]``.
Hypothesis's own share is what is left of the wall time when our steps are taken away.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table

from benchmarks.speed.laws import measure_isolation, measure_laws
from properties.generate.profile import try_each
from properties.generate.strategies import problems
from verification.backends.attn_core import AttnCore
from verification.backends.flags import recorded_flags, settle
from verification.backends.observe import observe_call
from verification.oracle import reference
from verification.oracle.expectation import expect
from verification.oracle.judge import judge_output, successful_output
from verification.problem import Problem
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize

# What a problem goes through, in order.
STEPS = ("draw (Hypothesis)", "materialise", "run", "reference", "bound", "judge")


class Stopwatch:
    """A stopwatch that adds up the seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a step."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` such that the time of its calls is added to a step."""

        def call(*args: Any) -> Any:
            with self.step(name):
                return function(*args)

        return call


def measure(dtype: str, device: str, examples: int, base_seed: int) -> dict[str, float]:
    """Return the seconds of each step for a problem, the first few problems (imports, warm-up) left out."""
    backend, watch, tried = AttnCore(device=device), Stopwatch(), 0

    def check(problem: Problem) -> None:
        nonlocal tried
        tried += 1
        with watch.step("materialise"):
            inputs = make_inputs(problem)
            tensors = materialize(inputs, device)
        with watch.step("run"):
            observation = observe_call(backend.prepare(problem), tensors)
        with watch.step("reference"):
            expectation = expect(inputs, backend.precision)
        with watch.step("judge"):
            judge_output(successful_output(observation), expectation)

    def run(count: int) -> float:
        start = time.perf_counter()
        try_each(problems(dtype), check, base_seed, count)
        return time.perf_counter() - start

    timers = {name: watch.timed("bound", getattr(reference, name)) for name in ("output_bound", "scores_bound")}
    with mock.patch.multiple(reference, **timers):
        run(100)  # imports and warm-up
        watch.seconds.clear()
        tried = 0
        total = run(examples)
    steps = {name: watch.seconds[name] / tried for name in STEPS[1:]}
    steps["reference"] -= steps["bound"]
    return {STEPS[0]: total / tried - sum(steps.values()), **steps}


def main(arguments: Sequence[str] | None = None) -> None:
    """Time every dtype and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed --harness", description=__doc__)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--dtype", nargs="+", default=["float16", "bfloat16", "float32"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each law, where all are asked")
    options = parser.parse_args(arguments)
    settle()
    table = Table("dtype", "problems/s", *STEPS, title=f"one core, {options.device}, {options.examples} problems")
    for dtype in options.dtype:
        steps = measure(dtype, options.device, options.examples, options.seed)
        total = sum(steps.values())
        shares = (f"{1e3 * s:.2f} ms {s / total:.0%}" for s in steps.values())
        table.add_row(dtype, f"[bold]{1 / total:.0f}[/]", *shares)
    console = Console(width=140)
    console.print(table)
    for dtype in options.dtype:
        pace = measure_laws(dtype, options.device, options.seed, options.seconds)
        broken = f"; broken: {', '.join(pace.broken)}" if pace.broken else ""
        said = f"{pace.problems:,} problems, {pace.outside:,} of them outside their law{broken}"
        console.print(f"all laws, {dtype}: [bold]{pace.per_second:.0f}[/] problems/s; {said}")
    here, there = measure_isolation(options.device, options.seed)
    isolation = f"[bold]{1e3 * (there - here):.2f} ms[/] more in a process of its own"
    console.print(f"a call, tiny float32: {1e3 * here:.2f} ms in this process, {isolation}")
    console.print(", ".join(f"{name} {value}" for name, value in recorded_flags().items()))
