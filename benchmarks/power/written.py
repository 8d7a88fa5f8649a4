"""Honest kernels, written down in torch, that round where no other honest implementation does: a sum of weights that
were cast, and parts that are merged by ``exp(lse_i - lse)`` without a division.
"""

from __future__ import annotations

from functools import partial
from math import e, log2

import torch
from torch import Tensor

from verification.backends.dense import DenseBackend, dense_contract
from verification.oracle.precision import INPUT, Precision
from verification.problem.formats import DTYPES

# Parts of a context, as far as it has as many keys: a short one has a key in each.
PARTS = 5


def sum_rounded_weights(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """Return attention whose weights are cast to the dtype of the values, and summed after that."""
    scores = _scores(q, k, causal, scale)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp().to(v.dtype).to(scores.dtype)
    return (weights @ v.to(scores.dtype) / weights.sum(dim=-1, keepdim=True)).to(q.dtype)


def merge_parts(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, *, base: float = e, narrow: bool = False
) -> Tensor:
    """Return attention merged from parts by their log-sum-exps in ``base``; ``narrow``: parts are kept in q's dtype."""
    exp, log = (torch.exp2, torch.log2) if base == 2 else (torch.exp, torch.log)
    scores = _scores(q, k, causal, scale * (log2(e) / log2(base)))
    outs, lses = [], []
    for keys, values in zip(scores.tensor_split(PARTS, -1), v.to(scores.dtype).tensor_split(PARTS, 1), strict=True):
        if not keys.shape[-1]:
            continue
        largest = keys.amax(dim=-1, keepdim=True)
        weights = exp(keys - largest.masked_fill(largest == -torch.inf, 0.0))
        total = weights.sum(dim=-1, keepdim=True)
        out = weights @ values / total.masked_fill(total == 0, 1.0)
        outs.append(out.to(q.dtype).to(out.dtype) if narrow else out)
        lses.append(largest + log(total))
    lse = torch.stack(lses)
    largest = lse.amax(dim=0)
    whole = largest + log(exp(lse - largest).sum(dim=0))
    return (exp(lse - whole) * torch.stack(outs)).sum(dim=0).to(q.dtype)


def _scores(q: Tensor, k: Tensor, causal: bool, scale: float) -> Tensor:
    """Return scores in float32, or in float64 for float64 inputs; -Inf where a key is hidden."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    scores = q.to(dtype) @ k.to(dtype).mT * scale
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf) if causal else scores


def list_written() -> list[DenseBackend]:
    """Return the kernels on every device."""
    merged = Precision(partials="float32", merge="lse")
    narrow = Precision(partials=INPUT, merge="lse")
    kernels = (
        ("written/rounded weights summed", sum_rounded_weights, Precision(probabilities=INPUT, weights_summed="after")),
        ("written/parts by lse", merge_parts, merged),
        ("written/narrow parts by lse in base 2", partial(merge_parts, base=2.0, narrow=True), narrow),
    )
    contract = dense_contract(DTYPES)
    on_host = [DenseBackend(name, call, contract, precision, portable=True) for name, call, precision in kernels]
    return [kernel.on(device) for device in ("cpu", "cuda") for kernel in on_host]
