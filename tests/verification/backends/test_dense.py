"""Dense functions as backends: the parts of a sequence, the layer around them, and torch's own functions on a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from properties.generate.options import HEADS
from properties.generate.sizes import LONGEST
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.compiled_flex import BLOCK, LENGTHS, MOST_HEADS, _make_mask
from verification.backends.dense import DenseBackend, attend_in_parts, dense_contract
from verification.backends.kernels import MATH, cpu_kernels, flex_eager_precision, sdpa_cudnn, sdpa_math
from verification.backends.observe import observe
from verification.oracle.bound import scores_bound
from verification.oracle.expectation import expect
from verification.oracle.judge import Verdict, Violation, judge_output, successful_output
from verification.oracle.precision import INPUT, Precision
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.visibility import visible_counts
from verification.tensors.inputs import make_inputs

KERNELS = pytest.mark.parametrize("backend", cpu_kernels(), ids=lambda backend: backend.name)
LENGTHS_Q_K = pytest.mark.parametrize(
    ("queries", "keys"), [(3, 3), (2, 5), (5, 2), (1, 4), (4, 1), (1, 1), (0, 3), (3, 0), (40, 17)]
)
ALIGNMENTS = pytest.mark.parametrize("alignment", ["top_left", "bottom_right"])


def judged(backend: DenseBackend, problem: Problem) -> Verdict:
    inputs = make_inputs(problem)
    return judge_output(successful_output(observe(backend, inputs)), expect(inputs, backend.precision))


@KERNELS
@ALIGNMENTS
@LENGTHS_Q_K
@pytest.mark.parametrize("dtype", FORMATS)
def test_agrees_with_the_reference(backend: DenseBackend, alignment: str, queries: int, keys: int, dtype: str) -> None:
    problem = one_head(dtype, queries, keys, head_dim=16, score_fill="normal", value_fill="normal", seed=3)
    judged(backend, replace(problem, num_heads=4, num_kv_heads=2, causal_alignment=alignment))


@KERNELS
@pytest.mark.parametrize("problem", [PREFILL, DECODE, replace(DECODE, dtype="float32", cache_dtype="float16")])
def test_pages_as_the_layer_does(backend: DenseBackend, problem: Problem) -> None:
    assert 0 < judged(backend, problem).ratio <= 1


@KERNELS
def test_a_last_dim_of_one_has_any_stride(backend: DenseBackend) -> None:
    """Torch calls it contiguous, and its fused kernels refuse it."""
    judged(backend, one_head(layout="strided", score_fill="normal", value_fill="normal"))


@KERNELS
def test_what_nobody_sees_may_be_nan(backend: DenseBackend) -> None:
    problem = one_head(queries=2, keys=4, head_dim=2, score_fill="normal", value_fill="normal", poison=("nan", "nan"))
    judged(backend, replace(problem, causal_alignment="top_left"))


@ALIGNMENTS
@LENGTHS_Q_K
def test_no_call_needs_a_mask(alignment: str, queries: int, keys: int) -> None:
    """Squares where causal, nothing empty, and each row is asked for once."""
    calls = []

    def record(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        assert q.shape[1]
        assert k.shape == v.shape
        assert k.shape[1]
        assert not causal or q.shape == k.shape
        calls.append(causal)
        return sdpa_math(q, k, v, causal, scale)

    counts = visible_counts(queries, keys, alignment).tolist()
    q, k, v = torch.randn(2, queries, 4), torch.randn(2, keys, 4), torch.randn(2, keys, 4)
    out = attend_in_parts(record, q, k, v, counts, 0.5)
    assert sorted(set(calls)) == sorted(calls)
    for row, count in enumerate(counts):
        alone = sdpa_math(q[:, row : row + 1], k[:, :count], v[:, :count], False, 0.5) if count else 0 * q[:, :1]
        torch.testing.assert_close(out[:, row : row + 1], alone)


def test_counts_of_another_shape_are_refused() -> None:
    x = torch.ones(1, 3, 1)
    with pytest.raises(ValueError, match="counts"):
        attend_in_parts(sdpa_math, x, x, x, [1, 3, 3], 1.0)


def _off_by_one(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """A kernel that loses the last key."""
    keep = -1 if k.shape[1] > 1 and not causal else None
    return sdpa_math(q, k[:, :keep], v[:, :keep], causal, scale)


def _scaled_twice(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return sdpa_math(q, k, v, causal, scale * scale)


@pytest.mark.parametrize(("fault", "problem"), [(_off_by_one, DECODE), (_scaled_twice, PREFILL)])
def test_an_error_in_the_function_is_seen(fault: object, problem: Problem) -> None:
    backend = DenseBackend("wrong", fault, dense_contract(("float16",)), MATH)  # type: ignore[arg-type]
    with pytest.raises(Violation, match="out of bound"):
        judged(backend, problem)


def test_an_unknown_kernel_says_so() -> None:
    """Where cuDNN is not, nothing else steps in."""
    backend = DenseBackend("sdpa/cudnn", sdpa_cudnn, dense_contract(("float16",)))
    with pytest.raises(Violation, match="RuntimeError"):
        judged(backend, PREFILL)


def test_one_key_for_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never sees a sequence of one key, and the answer is the value all the same."""

    def stand_in(kernel: object, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG001
        assert k.shape[1] > 1
        return scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal, scale=scale)[0]

    monkeypatch.setattr("verification.backends.kernels._sdpa", stand_in)
    q, k, v = torch.randn(3, 4, 8), torch.randn(3, 1, 8), torch.randn(3, 1, 8)
    torch.testing.assert_close(sdpa_cudnn(q, k, v, False, 1.0), v.expand(3, 4, 8))


@pytest.mark.parametrize(("keys", "causal"), [(1, False), (130, False), (640, False), (5, True), (640, True)])
def test_the_mask_of_compiled_flex_counts(keys: int, causal: bool) -> None:
    """Each block of queries reads the blocks of keys that its last row sees, and no others."""
    for length in LENGTHS:
        if keys <= length:
            mask = _make_mask(length, torch.device("cpu"))
            mask.show(keys, causal)
            counts = [min(row + 1, keys) if causal else keys for row in range(length)]
            assert mask.counts.tolist() == counts
            blocks = [-(-counts[row] // BLOCK) for row in range(BLOCK - 1, length, BLOCK)]
            assert mask.blocks.kv_num_blocks.flatten().tolist() == blocks
            assert mask.blocks.mask_mod is _make_mask(length, torch.device("cpu")).blocks.mask_mod


def test_compiled_flex_has_room_for_every_problem() -> None:
    assert LENGTHS[-1] >= LONGEST
    assert max(heads for heads, _ in HEADS) <= MOST_HEADS


@pytest.mark.parametrize(("unscaled", "size"), [(False, 65504.0 / 4), (True, 65504.0 / 32)])
def test_unscaled_scores_overflow_sooner(unscaled: bool, size: float) -> None:
    """With a scale of 1/8, a format that holds the plain product holds scores of an eighth of its largest number."""
    roundings = Precision(scores="float16", unscaled_scores=unscaled).resolve("float16")
    magnitude = np.array([0.9, 1.2]) * size
    bound = scores_bound(np, magnitude, magnitude / 0.125, 64, 0.125, roundings)
    assert np.isfinite(bound).tolist() == [True, False]


def test_flex_says_where_it_rounds() -> None:
    """Whichever this torch is: the weights are cast, and unscaled scores stand with scores of the inputs' format."""
    profile = flex_eager_precision()
    assert profile.probabilities == INPUT
    assert profile.unscaled_scores == (profile.scores == INPUT)
