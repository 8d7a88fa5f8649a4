"""Right answers pass, and nothing else does: NaN, Inf, zeros, subnormals, and the two ends of a bound."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from tests.verification.samples import PREFILL, one_head, with_numbers
from verification.oracle.expectation import Expectation, Expected, expect
from verification.oracle.judge import (
    Violation,
    error_ratios,
    finite_is_owed,
    judge_output,
    judge_outputs,
    judge_same_bits,
    successful_output,
    successful_outputs,
)
from verification.oracle.precision import Precision
from verification.problem.formats import FORMATS
from verification.problem.table import OUTPUTS, OutputRow
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize
from verification.tensors.observation import Observation

DTYPES = pytest.mark.parametrize("dtype", FORMATS)


def expected(exact: list[float], bound: list[float], dtype: str = "float16") -> Expectation:
    """One token, one head, these elements."""
    shaped = (np.array(x, np.float64).reshape(1, 1, -1) for x in (exact, bound))
    return Expectation({"out": Expected(*shaped)}, (), (), Precision().resolve(dtype))


def out(values: list[float], dtype: str = "float16") -> Any:
    """An answer."""
    return np.array(values).astype(FORMATS[dtype].numpy).reshape(1, 1, -1)


def score(got: float, exact: float, bound: float, dtype: str = "float16") -> float:
    """Of one element; a verdict is consistent with it."""
    expectation, output = expected([exact], [bound], dtype), out([got], dtype)
    value = float(error_ratios(output, expectation).item())
    if value > 1:
        with pytest.raises(Violation):
            judge_output(output, expectation)
    else:
        assert judge_output(output, expectation).ratio == value
    return value


@DTYPES
@pytest.mark.parametrize("bound", [0.0, 1e-3, 1e300])
@pytest.mark.parametrize("exact", [0.0, 1.0, -65504.0, inf, -inf])
def test_nan_never_passes_where_none_is_expected(exact: float, bound: float, dtype: str) -> None:
    """However wide the bound."""
    assert score(nan, exact, bound, dtype) == inf


@DTYPES
@pytest.mark.parametrize("got", [0.0, 1.0, inf, -inf])
def test_a_missing_nan_scores_infinity(got: float, dtype: str) -> None:
    """A number instead of a NaN is the worst error there is; a NaN there is right."""
    assert score(got, nan, 0.0, dtype) == inf
    assert score(nan, nan, 0.0, dtype) == 0


@pytest.mark.parametrize("got", [-inf, 65504.0, 0.0, nan])
def test_infinity_is_demanded_with_its_sign(got: float) -> None:
    """A large number is not enough."""
    assert score(got, inf, 0.0) == score(-got, -inf, 0.0) == inf
    assert score(inf, inf, 0.0) == score(-inf, -inf, 0.0) == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_stands_for_what_rounds_to_it(sign: int) -> None:
    """65519.9 within 1 may round to Inf in float16, 65504 within 1 may not."""
    assert score(sign * inf, sign * 65519.9, 1.0) < 1
    assert score(sign * inf, sign * 65530.0, 0.5) == 0 or score(sign * inf, sign * 65530.0, 11.0) < 1
    assert score(sign * inf, sign * 65504.0, 1.0) == 16
    assert score(-sign * inf, sign * 65519.9, 1.0) > 1e5
    assert score(sign * inf, 1.0, 1e-3) > 1


def test_infinity_never_stands_for_a_float64() -> None:
    """There the largest number is the largest."""
    assert score(inf, 1.0, 1e300, "float64") == inf


def test_an_open_bound_judges_nothing() -> None:
    """Of that element: its neighbours are still judged."""
    for got in (nan, inf, -inf, 0.0, 65504.0):
        assert score(got, 1.0, inf) == 0
    assert error_ratios(out([nan, 5.0]), expected([1.0, 1.0], [inf, 1.0])).ravel().tolist() == [0, 4]


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_zeros_are_equal_whatever_their_sign(zero: float) -> None:
    """Also where the bound is 0."""
    assert score(zero, 0.0, 0.0) == score(zero, -0.0, 0.0) == 0


def test_a_bound_of_zero_allows_equality_alone() -> None:
    """Not the smallest subnormal."""
    assert score(1.0, 1.0, 0.0) == 0
    assert score(2.0**-24, 0.0, 0.0) == inf
    assert score(-(2.0**-24), 0.0, 0.0) == inf


@DTYPES
def test_subnormals_are_numbers(dtype: str) -> None:
    """One subnormal off is one error of that size."""
    tiny = FORMATS[dtype].smallest_subnormal
    assert score(3 * tiny, 2 * tiny, 2 * tiny, dtype) == 0.5
    assert score(3 * tiny, 0.0, tiny, dtype) == 3


def test_the_bound_itself_is_allowed() -> None:
    """And nothing beyond."""
    assert score(1.5, 1.0, 0.5) == 1
    assert score(1.5, 1.0, 0.499) > 1


def test_the_worst_element_is_shown() -> None:
    """Where, what, and how much."""
    expectation = expected([1.0, 2.0, 3.0], [0.1, 0.1, 0.1])
    with pytest.raises(Violation, match=r"2 of 3 elements out of bound, err/bound up to 10") as caught:
        judge_output(out([1.5, 2.0, 4.0]), expectation)
    assert caught.value.difference is not None
    element = caught.value.difference.worst
    assert dict(element.at) == {"sequence": 0, "token": 0, "head": 0, "dim": 2}
    assert (element.got, element.exact, element.bound) == (4.0, 3.0, 0.1)
    assert "sequence 0, token 0, head 0, dim 2: got 4.0, expected 3.0 within 0.1" in str(caught.value)


def test_no_elements_no_violation() -> None:
    """An empty output is right where one is expected."""
    assert judge_output(out([])[:, :, :0], expected([], [])).ratio == 0


def flipped(output: Any, bit: int) -> Any:
    """One bit of the middle element turned."""
    raw = output.copy()
    raw.view(f"u{raw.dtype.itemsize}").reshape(-1)[1] ^= np.array(1, f"u{raw.dtype.itemsize}") << bit
    return raw


@DTYPES
def test_one_flipped_bit_is_seen(dtype: str) -> None:
    """Every bit of the format, in either order of comparison."""
    output = out([1.0, -3.5, 0.0], dtype)
    judge_same_bits(output, output.copy(), "the same")
    for bit in range(8 * output.dtype.itemsize):
        for pair in ((output, flipped(output, bit)), (flipped(output, bit), output)):
            with pytest.raises(Violation, match="1 of 3 elements have other bits"):
                judge_same_bits(*pair, "flipped")


@DTYPES
def test_nan_payloads_are_equal_and_numbers_are_not(dtype: str) -> None:
    """Sign and payload of a NaN are nobody's promise."""
    output = out([1.0, nan, 2.0], dtype)
    for bit in (0, 1, 8 * output.dtype.itemsize - 1):
        judge_same_bits(output, flipped(output, bit), "payload")
    for other in (0.0, inf, -inf):
        with pytest.raises(Violation):
            judge_same_bits(output, out([1.0, other, 2.0], dtype), "no NaN")


@DTYPES
def test_the_sign_of_zero_is_a_bit(dtype: str) -> None:
    """Equal is not the same."""
    with pytest.raises(Violation):
        judge_same_bits(out([0.0], dtype), out([-0.0], dtype), "zero")


def observation(**changes: Any) -> Observation:
    """A right answer to a small problem, but for the changes."""
    arena = materialize(make_inputs(PREFILL), "cpu")
    right = Observation({"out": np.zeros((4, 2, 4), np.float16)}, arena.before, (), None, arena)
    return replace(right, **changes)


def test_an_answer_is_an_answer() -> None:
    """Of q's shape and dtype."""
    assert successful_output(observation()).shape == (4, 2, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error": RuntimeError("broken"), "outputs": {}}, "raised RuntimeError: broken"),
        ({"outputs": {}}, "returned nothing"),
        ({"outputs": {"out": np.zeros((4, 2, 4), np.float32)}}, "returned float32"),
        ({"outputs": {"out": np.zeros((3, 8), np.float16)}}, r"returned float16 \(3, 8\)"),
    ],
)
def test_what_is_no_answer_is_a_violation(changes: dict[str, Any], message: str) -> None:
    """Not an error of the harness."""
    with pytest.raises(Violation, match=message):
        successful_output(observation(**changes))


def test_finite_is_owed_where_rounding_cannot_overflow() -> None:
    """Not for a mean of the largest numbers with a wide margin, nor for a NaN."""
    problem = one_head(keys=2)
    for values, owed in (((1, 2), True), ((65504, 65504), True), ((65504, nan), False), ((65504, inf), False)):
        expectation = expect(with_numbers(problem, q=[0], k=[0, 0], v=values), Precision())
        assert finite_is_owed(expectation, FORMATS["float16"]).item() is owed


@pytest.fixture
def with_top(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second output: a number for each row and head."""
    row = OutputRow("top", ("T", "H"), "float64", "The largest score.")
    monkeypatch.setitem(OUTPUTS, "top", row)


@pytest.mark.usefixtures("with_top")
def test_every_output_is_judged_by_its_name() -> None:
    """Each within its own bound; an element is named by the axes of its output."""
    expectation = expected([1.0, 2.0], [0.1, 0.1])
    expectation.outputs["top"] = Expected(np.array([[5.0]]), np.array([[0.5]]))
    right = {"out": out([1.0, 2.0]), "top": np.array([[5.25]])}
    assert judge_outputs(right, expectation).ratio == 0.5
    with pytest.raises(Violation, match=r"top: sequence 0, token 0, head 0: got 6.0, expected 5.0 within 0.5"):
        judge_outputs(right | {"top": np.array([[6.0]])}, expectation)
    with pytest.raises(Violation, match=r"\n  sequence 0, token 0, head 0, dim 1: got 3.0"):
        judge_outputs(right | {"out": out([1.0, 3.0])}, expectation)


@pytest.mark.usefixtures("with_top")
def test_an_output_has_the_shape_and_dtype_of_its_row() -> None:
    """One that no row names is refused, and so is a float32 where float64 is owed."""
    answers = observation().outputs
    top = np.zeros((4, 2))
    assert set(successful_outputs(observation(outputs=answers | {"top": top}))) == {"out", "top"}
    for name, wrong, said in (
        ("top", top[:3], "returned float64 .3, 2., not float64 of 8 elements, as top"),
        ("top", top.astype(np.float32), "returned float32"),
        ("lsd", top, "returned 'lsd' .must be one of out, top."),
    ):
        with pytest.raises(Violation, match=said):
            successful_outputs(observation(outputs=answers | {name: wrong}))
