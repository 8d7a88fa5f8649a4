"""torch's own dense attention functions, each with the formats in which it rounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention import flex_attention as flex
from torch.nn.functional import pad, scaled_dot_product_attention

from verification.backends.compiled_flex import HEAD_DIMS as COMPILED_HEAD_DIMS
from verification.backends.compiled_flex import flex_compiled
from verification.backends.dense import DenseBackend, dense_contract
from verification.backends.profiles import FLASH_ON_CPU, FLASH_ON_MATRIX_UNITS, FLUSHING_FLASH, MATH
from verification.backends.snippet import Snippet
from verification.oracle.precision import INPUT, Precision
from verification.problem.formats import DTYPES

HALVES = ("float16", "bfloat16")
# Fused kernels load rows of a multiple of 16 bytes.
FUSED_HEAD_DIMS = (16, 64, 80, 128)


def sdpa_flash(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return _sdpa(SDPBackend.FLASH_ATTENTION, q, k, v, causal, scale)


def sdpa_math(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return _sdpa(SDPBackend.MATH, q, k, v, causal, scale)


def sdpa_efficient(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return _sdpa(SDPBackend.EFFICIENT_ATTENTION, q, k, v, causal, scale)


def sdpa_cudnn(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """cuDNN takes no sequence of one key: then every row is a head of its own, the first row of a square of two."""
    heads, queries, dim = q.shape
    if k.shape[1] == 1:
        rows = q.reshape(heads * queries, 1, dim)
        k, v = (x.expand(heads, queries, dim).reshape(heads * queries, 1, dim) for x in (k, v))
        rows, k, v = (pad(x, (0, 0, 0, 1)) for x in (rows, k, v))
        return sdpa_cudnn(rows, k, v, True, scale)[:, :1].reshape(heads, queries, dim)
    # Heads innermost in memory but for dims: the one layout that every version of its checks lets pass.
    q, k, v = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in (q, k, v))
    return _sdpa(SDPBackend.CUDNN_ATTENTION, q, k, v, causal, scale)


def _sdpa(kernel: SDPBackend, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """No other kernel steps in where this one cannot run: that raises."""
    with sdpa_kernel(kernel):
        return scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal, scale=scale)[0]


def flex_eager(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """FlexAttention's own eager path, which its documentation keeps for debugging."""
    with uncompiled():
        mod = _hide_future if causal else None
        out: Tensor = flex.flex_attention(q[None], k[None], v[None], score_mod=mod, scale=scale)[0]
        return out


def _hide_future(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
    return torch.where(query >= key, score, -torch.inf)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Without this switch the eager path traces itself anew for every shape. With it, its warning is gone as well."""
    module: Any = flex
    before = getattr(module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", False)
    module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    try:
        yield
    finally:
        module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = before


@cache
def flex_eager_precision() -> Precision:
    """Some releases of torch widen q and k before their product; others keep it in the inputs' format until it is
    scaled. Which, shows in a product beyond float16's largest number. All cast the weights. The second product is the
    library's own in the inputs' format, and on some processors the one for bfloat16 flushes subnormal numbers.
    """
    large = torch.full((1, 1, 1), 300.0, dtype=torch.float16)
    if bool(flex_eager(large, large, torch.ones_like(large), False, 1.0).isfinite().all()):
        return Precision(probabilities=INPUT, flushing=True)
    return Precision(scores=INPUT, probabilities=INPUT, unscaled_scores=True, flushing=True)


def _plain(kernel: str) -> Snippet:
    """`_sdpa` as a script spells it."""
    return Snippet(
        imports="from torch.nn.attention import SDPBackend, sdpa_kernel\n"
        "from torch.nn.functional import scaled_dot_product_attention",
        call=f"with sdpa_kernel(SDPBackend.{kernel}):\n"
        "    return scaled_dot_product_attention(q[None], k[None], v[None], is_causal={causal}, scale={scale})[0]",
    )


def cpu_kernels() -> list[DenseBackend]:
    every = dense_contract(DTYPES)
    return [
        DenseBackend("sdpa/flash", sdpa_flash, every, FLASH_ON_CPU, plain=_plain("FLASH_ATTENTION")),
        DenseBackend("sdpa/math", sdpa_math, every, MATH, plain=_plain("MATH"), portable=True),
        DenseBackend("flex/eager", flex_eager, every, flex_eager_precision(), portable=True),
    ]


def cuda_kernels() -> list[DenseBackend]:
    """Where they run is asked only when they are called."""
    every, halves = dense_contract(DTYPES), dense_contract(HALVES, FUSED_HEAD_DIMS)
    efficient = dense_contract((*HALVES, "float32"), FUSED_HEAD_DIMS)
    compiled = dense_contract((*HALVES, "float32"), COMPILED_HEAD_DIMS)
    return [
        DenseBackend("sdpa/flash", sdpa_flash, halves, FLASH_ON_MATRIX_UNITS, "cuda", _plain("FLASH_ATTENTION")),
        DenseBackend(
            "sdpa/efficient", sdpa_efficient, efficient, FLUSHING_FLASH, "cuda", _plain("EFFICIENT_ATTENTION")
        ),
        DenseBackend("sdpa/cudnn", sdpa_cudnn, halves, FLUSHING_FLASH, "cuda"),
        DenseBackend("sdpa/math", sdpa_math, every, MATH, "cuda", _plain("MATH"), portable=True),
        DenseBackend("flex/eager", flex_eager, every, flex_eager_precision(), "cuda", portable=True),
        DenseBackend("flex/compiled", flex_compiled, compiled, FLASH_ON_MATRIX_UNITS, "cuda"),
    ]
