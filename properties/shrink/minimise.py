"""Make the numbers of a failing problem ones that a person can read: 0, 1, small integers, few digits.

Hypothesis and `properties.shrink.reduce` shrink what is drawn, and numbers are not drawn but made from a seed. Here
they are written down, number by number, and made simpler as long as the law breaks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import floor, frexp, isfinite, ldexp, log10
from typing import NamedTuple

import numpy as np

from verification.problem import Numbers, Problem
from verification.problem.formats import FORMATS, Format
from verification.problem.problem import ValueFill
from verification.problem.table import CACHES, NUMBERED
from verification.tensors.inputs import make_inputs, rows_of

BUDGET = 250
# More numbers than these nobody reads, whatever they are.
MOST_NUMBERS = 300
# As written: 65504, 0.375, -12.5.
READABLE = 5
# Kinds that values may be left to; scores to ones.
_VALUES: tuple[ValueFill, ...] = ("ones", "index", "zeros")
Breaks = Callable[[Problem], bool]
Literals = dict[str, list[float]]


class _Group(NamedTuple):
    """Numbers of one tensor that become simpler together."""

    tensor: str
    positions: list[int]


def simplified(problem: Problem, breaks: Breaks, budget: int = BUDGET) -> Problem:
    """A problem with numbers written down, that breaks the law and has fewer numbers that are hard to read; or
    ``problem``, where they are not, are too many, or the law breaks on no such problem. ``breaks`` is asked ``budget``
    times at most, and what is returned is the last that it was true of, or was never in doubt.
    """
    literals, free = _written_down(problem)
    if budget < 3 or sum(map(len, literals.values())) > MOST_NUMBERS or not _hard_to_read(literals):
        return problem
    search = _Search(problem, literals, breaks, budget - 2)  # the first and the last are asked here
    if not breaks(_with(problem, literals)):
        return problem
    search.run([_Group(name, positions) for name, positions in free.items()])
    if _hard_to_read(search.literals) < _hard_to_read(literals):
        tidy = _tidied(problem, search.literals)
        if tidy == search.best or breaks(tidy):
            return tidy
        return search.best
    breaks(problem)
    return problem


class _Search:
    """Greedy: tensors of ones, which need no writing; of the others, whole tensors first, then halves, down to single
    numbers, until nothing changes.
    """

    def __init__(self, problem: Problem, literals: Literals, breaks: Breaks, left: int) -> None:
        self.problem, self.literals, self.best = problem, literals, _with(problem, literals)
        self._breaks, self._left = breaks, left
        self._tried: set[tuple[Numbers, ...]] = set()

    def run(self, groups: list[_Group]) -> None:
        groups, changed = [group for group in groups if not self._holds_ones(group)], True
        while changed and self._left > 0:
            changed, waiting = False, deque(groups)
            while waiting and self._left > 0:
                group = waiting.popleft()
                changed |= self._simplify(group)
                half = len(group.positions) // 2
                if half and _cost(self.literals[group.tensor][i] for i in group.positions):
                    waiting += (group._replace(positions=p) for p in (group.positions[:half], group.positions[half:]))

    def _holds_ones(self, group: _Group) -> bool:
        """Whether it does, or may."""
        changed = self._changed(group, [1.0] * len(group.positions))
        return changed == self.literals or self._accepts(changed)

    def _simplify(self, group: _Group) -> bool:
        """Whether a simpler group was found that still breaks the law."""
        before = self.literals[group.tensor]
        fmt = FORMATS[self.problem.cache_format if group.tensor in CACHES else self.problem.dtype]
        return any(
            self._accepts(self._changed(group, numbers))
            for numbers in _simpler([before[i] for i in group.positions], fmt)
        )

    def _changed(self, group: _Group, numbers: list[float]) -> Literals:
        after = self.literals[group.tensor].copy()
        for i, number in zip(group.positions, numbers, strict=True):
            after[i] = number
        return {**self.literals, group.tensor: after}

    def _accepts(self, literals: Literals) -> bool:
        other = _with(self.problem, literals)
        if self._left <= 0 or other.numbers in self._tried:
            return False
        self._tried.add(other.numbers)
        self._left -= 1
        if not self._breaks(other):
            return False
        self.literals, self.best = literals, other
        return True


def _simpler(numbers: list[float], fmt: Format) -> list[list[float]]:
    """Other numbers in their place that take less to write down, the shortest first."""
    candidates = [[_exact(rule(x), fmt) for x in numbers] for rule in _RULES]
    costs = {tuple(others): _cost(others) for others in candidates if all(map(isfinite, others))}
    shorter = [others for others, cost in costs.items() if cost < _cost(numbers)]
    return [list(others) for others in sorted(shorter, key=costs.__getitem__)]


def _exact(number: float, fmt: Format) -> float:
    """The nearest that the tensor can hold; NaN where it is too large."""
    return float(np.array(number).astype(fmt.numpy)) if abs(number) <= fmt.largest else float("nan")


def _to_digits(number: float, digits: int) -> float:
    return round(number, digits - 1 - floor(log10(abs(number)))) if number else 0.0


def _to_power_of_two(number: float) -> float:
    mantissa, exponent = frexp(number)
    return ldexp(round(mantissa * 2) / 2, exponent)


def _always(number: float) -> Callable[[float], float]:
    return lambda _: number


_RULES: tuple[Callable[[float], float], ...] = (
    # The last two are the first that bfloat16 and float16 cannot hold.
    *map(_always, (0.0, 1.0, -1.0, 2.0, 3.0, 257.0, 2049.0)),
    lambda x: float(round(x)),
    lambda x: round(x * 2) / 2,
    lambda x: round(x * 8) / 8,
    _to_power_of_two,
    lambda x: _to_digits(x, 1),
    lambda x: _to_digits(x, 2),
    lambda x: _to_digits(x, 3),
)


def _text(number: float) -> str:
    return repr(number).removesuffix(".0")


def _cost(numbers: Iterator[float] | list[float]) -> int:
    """0 is the simplest, then 1, then what is short; of equally short ones the small integer."""
    return sum(map(_cost_of_one, numbers))


def _cost_of_one(x: float) -> int:
    if x in (0, 1):
        return int(x)
    return 2 * len(_text(x)) + (4 if abs(x) >= 100 else not x.is_integer())


def _hard_to_read(literals: Literals) -> int:
    """How many numbers are long."""
    return sum(len(_text(x)) > READABLE for values in literals.values() for x in values)


def _written_down(problem: Problem) -> tuple[Literals, dict[str, list[int]]]:
    """The numbers of every tensor that holds some, 0 where something else lies over them; and where none does."""
    inputs = make_inputs(replace(problem, poison=("nan", "nan")))
    literals: Literals = {}
    for name in NUMBERED:
        held = inputs.seen_slots if name in CACHES else slice(None)
        values = rows_of(inputs, name)[held].astype(np.float64).reshape(-1)
        if values.size:
            literals[name] = values.tolist()
    free = {name: [i for i, x in enumerate(values) if isfinite(x)] for name, values in literals.items()}
    return {name: [x if isfinite(x) else 0.0 for x in values] for name, values in literals.items()}, free


def _with(problem: Problem, literals: Literals, values: ValueFill = "ones") -> Problem:
    numbers = tuple(Numbers(name, tuple(held)) for name, held in literals.items())
    return replace(problem, score_fill="ones", value_fill=values, numbers=numbers)


def _tidied(problem: Problem, literals: Literals) -> Problem:
    """Without the numbers of tensors that hold what a kind gives."""
    tidy = []
    for values in _VALUES:
        given, _ = _written_down(_with(problem, {}, values))
        kept = {name: held for name, held in literals.items() if held != given[name]}
        tidy.append(_with(problem, kept, values))
    return min(tidy, key=lambda other: sum(len(given.values) for given in other.numbers))
