"""Numbers are made simple as long as the law breaks: what is left can be read, is valid, and cost little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from properties.law import Law
from properties.laws import LAWS
from properties.laws.agreement import agrees_with_reference
from properties.laws.equivalence import chunks_equal_one_shot
from properties.run.hunt import hunt
from properties.shrink.minimise import BUDGET, MOST_NUMBERS, READABLE, simplified
from tests.properties.generated import generated
from verification.backends.protocol import Backend
from verification.faults import FAULTS
from verification.problem import Numbers, Problem, Special
from verification.problem.formats import FORMATS
from verification.problem.validate import check_problem
from verification.tensors.inputs import Inputs, make_inputs

PREFILL = Problem(
    "prefill", "float16", 2, 1, 3, (2,), (3,), score_fill="normal", value_fill="normal", poison=("nan", "large"), seed=4
)
DECODE = Problem(
    "decode",
    "float32",
    2,
    2,
    2,
    (1, 1),
    (3, 1),
    2,
    4,
    (4, 0),
    ((1, 2), (0, 9)),
    cache_dtype="bfloat16",
    score_fill="steep",
    value_fill="outlier",
    seed=1,
)


class Asked:
    """A predicate of a problem's tensors that counts how often it is asked, and keeps what it was last true of."""

    def __init__(self, breaks: Callable[[Inputs], bool]) -> None:
        self.times, self.last, self._breaks = 0, None, breaks

    def __call__(self, problem: Problem) -> bool:
        self.times += 1
        breaks = self._breaks(make_inputs(problem))
        self.last = problem if breaks else self.last
        return breaks


def of_law(law: Law, backend: Backend) -> Callable[[Problem], bool]:
    """Whether it breaks."""
    return partial(law.breaks, backend)


def given(problem: Problem) -> dict[str, tuple[float, ...]]:
    return {numbers.tensor: numbers.values for numbers in problem.numbers}


def longest(problem: Problem) -> int:
    """Characters of the longest number that is written down, or made where none is."""
    return max((len(f"{x!r}".removesuffix(".0")) for values in given(problem).values() for x in values), default=0)


LAW = next(law for law in LAWS if law.check is agrees_with_reference)
TWO = Problem("prefill", "float16", 1, 1, 2, (2,), (3,), causal_alignment="bottom_right")
ONE = Problem("decode", "float16", 2, 1, 2, (1,), (3,), 2, 3, (-1,), ((2, 0),))
# Awkward scores for which the faults show; the parts of decodes alone are merged by their lse.
FOUND = {
    "scale-bf16": "normal",
    "scale-twice": "normal",
    "softmax-no-shift": "steep",
    "pv-bf16": "normal",
    "lse-base2": "normal",
    "sum-bf16": "normal",
}


def simple_in_the_end(problem: Problem, law: Law, backend: Backend) -> Problem:
    """As `simplified`, checked: the law still breaks, and it was asked within the budget."""
    breaks = of_law(law, backend)
    asked = Asked(lambda inputs: breaks(inputs.problem))
    small = simplified(problem, asked)
    assert 2 < asked.times <= BUDGET
    assert small == asked.last
    assert small.numbers
    assert breaks(check_problem(small))
    assert longest(small) <= 4 < READABLE
    return small


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    ("fault", "call"), [(fault, call) for fault in FOUND for call in (TWO, ONE) if fault != "lse-base2" or call is ONE]
)
def test_a_planted_fault_ends_at_numbers_that_can_be_read(fault: str, call: Problem, dtype: str) -> None:
    """Integers of a few characters, and for the most part 0 and 1."""
    backend = FAULTS[fault].backend()
    breaks = of_law(LAW, backend)
    tried = (replace(call, dtype=dtype, score_fill=FOUND[fault], value_fill="normal", seed=seed) for seed in range(40))
    problem = next(filter(breaks, tried))
    held = [x for values in given(simple_in_the_end(problem, LAW, backend)).values() for x in values]
    assert all(x.is_integer() for x in held)
    assert sum(x in (0, 1) for x in held) >= len(held) / 2


def test_what_a_hunt_ends_at_gets_simpler() -> None:
    """With steep scores, or with the numbers that the run itself has simplified."""
    backend = FAULTS["softmax-no-shift"].backend()
    found = hunt(backend, 0)
    assert found.kill is not None
    assert found.broken is not None
    law = next(law for law in LAWS if law.name == found.kill.law)
    plain = replace(found.broken.problem, numbers=(), score_fill="steep")
    problem = next(filter(of_law(law, backend), (replace(plain, seed=seed) for seed in range(40))))
    small = simple_in_the_end(problem, law, backend)
    assert sum(map(len, given(small).values())) <= 2


def test_a_number_that_matters_stays_and_all_others_go() -> None:
    """One entry of each tensor, and nothing lies under the poison of the last key."""
    asked = Asked(lambda x: bool(x.q[1, 1, 2] > 0.5 > x.q[0, 0, 0] and x.k[0, 0, 0] < -0.25 and x.v[1, 0, 1] >= 6))
    numbers = dict(zip("qkv", _all(PREFILL, q=0.7998, k=-1.2998, v=9.1), strict=True))
    numbers["q"] = Numbers("q", (0.1, *numbers["q"].values[1:]))
    small = simplified(replace(PREFILL, numbers=tuple(numbers.values())), asked)
    assert given(small) == {"q": (0.0,) * 11 + (1.0,), "k": (-1.0, *(0.0,) * 8), "v": (*(0.0,) * 4, 9.0, *(0.0,) * 4)}


def _all(problem: Problem, **values: float) -> tuple[Numbers, ...]:
    inputs = make_inputs(problem)
    return tuple(Numbers(name, (x,) * getattr(inputs, name).size) for name, x in values.items())  # type: ignore[arg-type]


def test_the_seen_slots_of_a_cache_are_written_down() -> None:
    """In the order of `Numbers`, in the cache's own format."""
    value = float(make_inputs(DECODE).k_cache[2, 0, 1, 0])
    asked = Asked(lambda x: bool(x.k_cache[2, 0, 1, 0] == value) and bool(x.v_cache[1, 1, 0, 0] != 0))
    small = simplified(DECODE, asked)
    slots = make_inputs(DECODE).seen_slots.tolist()
    assert slots == [0, 2, 3, 4]
    # slots, heads, dims
    keys = np.array(given(small)["k_cache"]).reshape(4, 2, 2)
    assert keys[3, 1, 0] == value
    assert np.count_nonzero(keys) == 1
    assert small.value_fill == "ones" or np.count_nonzero(given(small)["v_cache"]) == 1
    assert make_inputs(small).k_cache[2, 0, 1, 0] == value
    check_problem(small)


@pytest.mark.parametrize(("values", "kind"), [((1, 1, 1), "ones"), ((0, 1, 2), "index"), ((0, 0, 0), "zeros")])
def test_what_a_kind_gives_is_not_written_down(values: tuple[int, ...], kind: str) -> None:
    """Queries and keys are ones again, and so are values where a kind of them fits."""
    wanted = np.broadcast_to(np.array(values).reshape(3, 1, 1), (3, 1, 3))
    problem = replace(PREFILL, query_lens=(3,), numbers=(Numbers("v", tuple(wanted.reshape(-1).tolist())),))
    start = make_inputs(problem).q
    asked = Asked(lambda x: bool((x.v == wanted).all() and ((x.q == 1).all() or (x.q == start).all())))
    small = simplified(problem, asked)
    assert (small.score_fill, small.value_fill) == ("ones", kind)
    assert given(small) == {}
    assert small == asked.last


@pytest.mark.parametrize("room", [0.001, 0.1, 0.96])
@pytest.mark.parametrize("number", [0.3, 7.7, 1e-3, 5170.0, -12345.678])
@pytest.mark.parametrize(
    ("name", "problem"), [*(("q", replace(PREFILL, dtype=dtype)) for dtype in FORMATS), ("k_cache", DECODE)]
)
def test_numbers_are_those_that_the_tensor_holds(name: str, problem: Problem, number: float, room: float) -> None:
    """To the last bit, and as far from what they were as they may be."""
    size = len(make_inputs(problem).seen_slots) * 4 if name == "k_cache" else make_inputs(problem).q.size
    problem = replace(problem, value_fill="ones", numbers=(Numbers(name, (number,) * size),))  # type: ignore[arg-type]

    def held(inputs: Inputs) -> float:
        return float(getattr(inputs, name).reshape(-1)[0])

    start = held(make_inputs(problem))
    small = simplified(problem, Asked(lambda x: abs(held(x) / start - 1) <= room))
    assert abs(held(make_inputs(small)) / start - 1) <= room
    if small.numbers != problem.numbers:
        assert held(make_inputs(small)) == given(small).get(name, (1.0,))[0]
        assert len(repr(held(make_inputs(small)))) <= len(repr(start))


def test_planted_numbers_stay() -> None:
    """A NaN is none of the numbers that are written down, and those below it are."""
    special = Special("v", 0, 0, 1, "nan")
    problem = replace(PREFILL, specials=(special,))
    asked = Asked(lambda x: bool(np.isnan(x.v[0, 0, 1])) and bool(x.q[0, 0, 0] != 0))
    small = simplified(problem, asked)
    assert small.specials == (special,)
    assert small.poison == problem.poison
    assert all(np.isfinite(values).all() for values in map(np.array, given(small).values()))
    check_problem(small)


@pytest.mark.parametrize(
    "problem",
    [
        replace(PREFILL, score_fill="integers", value_fill="onehot"),
        replace(PREFILL, score_fill="integers", value_fill="index", dtype="float32", poison=("large", "large")),
        replace(PREFILL, score_fill="ones", value_fill="index"),
        replace(PREFILL, query_lens=(0,), key_lens=(0,)),
        replace(PREFILL, head_dim=MOST_NUMBERS // 10 + 1),
    ],
)
def test_what_is_plain_or_too_much_is_not_touched(problem: Problem) -> None:
    """Nobody is asked."""
    asked = Asked(lambda _: True)
    assert simplified(problem, asked) is problem
    assert asked.times == 0


def test_what_does_not_break_with_numbers_written_down_is_not_touched() -> None:
    """As where a law makes a call of its own without them."""
    asked = Asked(lambda x: not x.problem.numbers)
    assert simplified(PREFILL, asked) is PREFILL
    assert asked.times == 1


def test_what_gets_no_simpler_stays_and_was_the_last_to_break() -> None:
    """Whoever keeps the last problem that broke keeps what is returned."""
    bits = {name: getattr(make_inputs(PREFILL), name).tobytes() for name in "qkv"}
    asked = Asked(lambda x: all(getattr(x, name).tobytes() == held for name, held in bits.items()))
    assert simplified(PREFILL, asked) is PREFILL
    assert asked.last is PREFILL
    assert asked.times <= BUDGET


@pytest.mark.parametrize("budget", [0, 2, 3, 10, 40])
def test_the_budget_is_kept(budget: int) -> None:
    """However little it is, and what is returned breaks the law."""
    sums = [float(np.abs(make_inputs(p).q.astype(np.float64)).sum()) for p in (PREFILL,)]
    asked = Asked(lambda x: float(np.abs(x.q.astype(np.float64)).sum()) >= sums[0] * 0.97)
    small = simplified(PREFILL, asked, budget)
    assert asked.times <= budget
    assert small == (asked.last or PREFILL)
    assert asked(small)


def test_any_problem_ends_valid() -> None:
    """And as it was but for its numbers."""
    touched = 0
    for problem in generated("float32", 300):
        small = simplified(problem, Asked(lambda x: bool(np.nansum(np.abs(x.q)) > 1.5)), 30)
        check_problem(small)
        touched += small != problem
        usual = {"score_fill": "ones", "value_fill": "ones", "numbers": ()}
        assert replace(small, **usual) == replace(problem, **usual)  # type: ignore[arg-type]
    assert touched > 40


def test_a_law_that_makes_its_own_call_keeps_its_problem() -> None:
    """The chunks of a prefill are made without the numbers of the problem."""
    backend = FAULTS["scale-bf16"].backend()
    law = next(law for law in LAWS if law.check is chunks_equal_one_shot)
    assert simplified(PREFILL, of_law(law, backend)) is PREFILL
