"""torch's own dense attention functions, each with the formats in which it rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention import flex_attention as flex
from torch.nn.functional import pad, scaled_dot_product_attention

from verification.backends.compiled_flex import HEAD_DIMS as COMPILED_HEAD_DIMS
from verification.backends.compiled_flex import flex_compiled
from verification.backends.contract import Contract
from verification.backends.dense import Dense, DenseBackend, dense_contract
from verification.backends.documented import Weaker
from verification.backends.profiles import FLASH_2, FLASH_ON_CPU, FLASH_ON_MATRIX_UNITS, FLUSHING_FLASH, MATH
from verification.backends.snippet import Snippet
from verification.backends.torch_lines import (
    COMPILED,
    FLASH_ON_CPU_LINES,
    FLUSHING,
    NAN_IN_SDPA,
    SPLIT,
    flex_eager_lines,
    on_cuda,
)
from verification.oracle.precision import INPUT, Precision
from verification.problem.formats import DTYPES

HALVES = ("float16", "bfloat16")
# Those of the drawn head_dims whose rows are a multiple of 16 bytes in a 16-bit format: fused kernels load no others.
FUSED_HEAD_DIMS = (16, 64, 80, 128)


def sdpa_flash(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return _sdpa(SDPBackend.FLASH_ATTENTION, q, k, v, causal, scale)


def sdpa_math(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return _sdpa(SDPBackend.MATH, q, k, v, causal, scale)


def sdpa_efficient(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    return _sdpa(SDPBackend.EFFICIENT_ATTENTION, q, k, v, causal, scale)


def sdpa_cudnn(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """Return attention by cuDNN's kernel, which takes no sequence of one key.

    With one key every query becomes a head of its own: the first row of a causal square of two.
    """
    heads, queries, dim = q.shape
    if k.shape[1] == 1:
        rows = q.reshape(heads * queries, 1, dim)
        k, v = (x.expand(heads, queries, dim).reshape(heads * queries, 1, dim) for x in (k, v))
        rows, k, v = (pad(x, (0, 0, 0, 1)) for x in (rows, k, v))
        return sdpa_cudnn(rows, k, v, True, scale)[:, :1].reshape(heads, queries, dim)
    # In memory heads come right before dims: the only layout that the checks of every cuDNN version accept.
    q, k, v = (x.transpose(0, 1).contiguous().transpose(0, 1) for x in (q, k, v))
    return _sdpa(SDPBackend.CUDNN_ATTENTION, q, k, v, causal, scale)


def _sdpa(kernel: SDPBackend, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """Return attention by one kernel of torch. Raises RuntimeError where it cannot run; no other kernel steps in."""
    with sdpa_kernel(kernel):
        return scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal, scale=scale)[0]


def flex_eager(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """Return attention by FlexAttention's own eager path, which its documentation keeps for debugging."""
    with uncompiled():
        mod = _hide_future if causal else None
        out: Tensor = flex.flex_attention(q[None], k[None], v[None], score_mod=mod, scale=scale)[0]
        return out


def _hide_future(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
    return torch.where(query >= key, score, -torch.inf)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Set FlexAttention's debug switch, without which the eager path traces itself anew for every shape, and warns."""
    module: Any = flex
    before = getattr(module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", False)
    module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    try:
        yield
    finally:
        module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = before


@cache
def flex_eager_precision() -> Precision:
    """Return the roundings of FlexAttention's eager path in the installed release of torch.

    Some releases widen q and k before their product, others keep the product in the inputs' format until it is scaled.
    All cast the weights to the inputs' format. The second product is the library's own in that format, and on some
    processors the one for bfloat16 flushes subnormal numbers.
    """
    # 300 * 300 is beyond float16's largest number, 65504: it is finite only where q and k were widened.
    large = torch.full((1, 1, 1), 300.0, dtype=torch.float16)
    if bool(flex_eager(large, large, torch.ones_like(large), False, 1.0).isfinite().all()):
        return Precision(probabilities=INPUT, flushing=True)
    return Precision(scores=INPUT, probabilities=INPUT, unscaled_scores=True, flushing=True)


def _spell_call(kernel: str) -> Snippet:
    """Return a call of `_sdpa` in torch's own terms, for a script."""
    return Snippet(
        imports="from torch.nn.attention import SDPBackend, sdpa_kernel\n"
        "from torch.nn.functional import scaled_dot_product_attention",
        call=f"with sdpa_kernel(SDPBackend.{kernel}):\n"
        "    return scaled_dot_product_attention(q[None], k[None], v[None], is_causal={causal}, scale={scale})[0]",
    )


def _on_cpu() -> dict[str, Callable[[], DenseBackend]]:
    every, flash = dense_contract(DTYPES), _spell_call("FLASH_ATTENTION")
    return {
        "sdpa/flash": partial(
            DenseBackend, "sdpa/flash", sdpa_flash, every, FLASH_ON_CPU, plain=flash, weaker=FLASH_ON_CPU_LINES
        ),
        "sdpa/math": partial(_make_math, "cpu"),
        "flex/eager": partial(_make_flex, "cpu"),
    }


def _on_cuda() -> dict[str, Callable[[], DenseBackend]]:
    halves = dense_contract(HALVES, FUSED_HEAD_DIMS)
    efficient = dense_contract((*HALVES, "float32"), FUSED_HEAD_DIMS)
    compiled = dense_contract((*HALVES, "float32"), COMPILED_HEAD_DIMS)
    of_halves = on_cuda("float32", "float64")
    flash, fused = _spell_call("FLASH_ATTENTION"), _spell_call("EFFICIENT_ATTENTION")
    kernels: dict[str, tuple[Dense, Contract, Precision, Snippet | None, tuple[Weaker, ...]]] = {
        "sdpa/flash": (sdpa_flash, halves, FLASH_2, flash, (*of_halves, *SPLIT)),
        "sdpa/efficient": (sdpa_efficient, efficient, FLUSHING_FLASH, fused, (*on_cuda("float64"), FLUSHING)),
        "sdpa/cudnn": (sdpa_cudnn, halves, FLUSHING_FLASH, None, (*of_halves, FLUSHING)),
        "flex/compiled": (flex_compiled, compiled, FLASH_ON_MATRIX_UNITS, None, COMPILED),
    }
    made: dict[str, Callable[[], DenseBackend]] = {
        name: partial(DenseBackend, name, dense, contract, rounds, "cuda", plain, weaker=lines)
        for name, (dense, contract, rounds, plain, lines) in kernels.items()
    }
    return made | {"sdpa/math": partial(_make_math, "cuda"), "flex/eager": partial(_make_flex, "cuda")}


def _make_math(device: str) -> DenseBackend:
    every, spelt = dense_contract(DTYPES), _spell_call("MATH")
    return DenseBackend("sdpa/math", sdpa_math, every, MATH, device, spelt, portable=True, weaker=NAN_IN_SDPA)


def _make_flex(device: str) -> DenseBackend:
    every, rounds = dense_contract(DTYPES), flex_eager_precision()
    lines = flex_eager_lines(rounds)
    return DenseBackend("flex/eager", flex_eager, every, rounds, device, portable=True, weaker=lines)


# Makers of torch's dense kernels, by device and name. No device is needed before a kernel is called, and flex/eager,
# whose precision is measured by a call, is not made where another one is asked for.
KERNELS = {"cpu": _on_cpu(), "cuda": _on_cuda()}


def cpu_kernels() -> list[DenseBackend]:
    """Return torch's dense kernels for processors."""
    return [make() for make in KERNELS["cpu"].values()]


def cuda_kernels() -> list[DenseBackend]:
    """Return torch's dense kernels for CUDA devices."""
    return [make() for make in KERNELS["cuda"].values()]
