"""Rules side by side on the same outputs: the planted faults that each of four rules sees, and how soon.

The problems are ours, or those of the fixed grid. Only the output is judged. No rule of this kind can see what a fault
does to the cache, the log or the last bit; ``Trial.visible`` tells such faults apart.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle

from benchmarks.power.rules import RULES
from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.expectation import expect
from verification.oracle.judge import Violation, successful_output
from verification.problem import Problem
from verification.tensors.inputs import Array, Inputs, make_inputs

# Formats that models compute in.
DTYPES = ("float16", "bfloat16", "float32")
# Problems of a dtype before the next one has its turn.
_CHUNK = 100


@dataclass
class Trial:
    """One fault under every rule."""

    problems: int = 0
    """Number of problems that were tried."""
    visible: bool = False
    """True if the fault's output was ever another than the honest one."""
    found: dict[str, int] = field(default_factory=dict)
    """By rule: the number of problems after which it saw the fault."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By rule: how long it looked, found or not. Its own judging counts, and what it shares with the others: drawing,
    running, the reference.
    """


def try_rules(backend: Backend, honest: Backend, tried: Iterable[Problem]) -> Trial:
    """Try problems until every rule has found the fault, or until there are no more problems."""
    result, shared, own = Trial(), 0.0, dict.fromkeys(RULES, 0.0)
    start = time.perf_counter()
    for problem in tried:
        result.problems += 1
        inputs = make_inputs(problem)
        expectation = expect(inputs, backend.precision)
        wrong, right = (_run(b, inputs) for b in (backend, honest))
        shared += time.perf_counter() - start
        for name, rule in RULES.items():
            if name in result.found:
                continue
            began = time.perf_counter()
            rejected = wrong is None or not rule(wrong, expectation, problem)
            own[name] += time.perf_counter() - began
            # A rule that rejects the honest output as well has seen nothing.
            if rejected and right is not None and rule(right, expectation, problem):
                result.found[name], result.seconds[name] = result.problems, shared + own[name]
        result.visible |= wrong is None or right is None or wrong.tobytes() != right.tobytes()
        if len(result.found) == len(RULES):
            break
        start = time.perf_counter()
    result.seconds = {name: result.seconds.get(name, shared + own[name]) for name in RULES}
    return result


def draw_ours(backend: Backend, base_seed: int, budget: int) -> Iterator[Problem]:
    """Yield problems of our own generators, a chunk of each dtype in turn."""
    for number, dtype in zip(range(0, budget, _CHUNK), cycle(DTYPES), strict=False):
        chunk: list[Problem] = []
        try_each(problems_within(backend.contract, dtype), chunk.append, base_seed + number, _CHUNK)
        yield from chunk


def count_false_alarms(honest: Backend, dtype: str, base_seed: int, budget: int) -> Counter[str]:
    """Return how many honest outputs each rule rejects; ``"problems"`` is the number of outputs."""
    alarms: Counter[str] = Counter()

    def check(problem: Problem) -> None:
        inputs = make_inputs(problem)
        expectation, output = expect(inputs, honest.precision), _run(honest, inputs)
        assert output is not None
        alarms["problems"] += 1
        alarms.update(name for name, rule in RULES.items() if not rule(output, expectation, problem))

    for number in range(0, budget, _CHUNK):
        try_each(problems_within(honest.contract, dtype), check, base_seed + number, _CHUNK)
    return alarms


def _run(backend: Backend, inputs: Inputs) -> Array | None:
    """Return the output, or None if the call raises: every rule sees that."""
    try:
        return successful_output(observe(backend, inputs))
    except Violation:
        return None
