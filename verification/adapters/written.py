"""Attention written down in torch, with every feature of scoring: an honest kernel to measure others beside."""

from __future__ import annotations

import torch
from torch import Tensor

from verification.adapter import DTYPES, FEATURES, Batch, BatchedAdapter, Precision, Weaker, promising

EVERYTHING = promising(
    *DTYPES,
    phases=("prefill",),
    dense_batches=True,
    scoring=frozenset(FEATURES),
    alignments=("top_left", "bottom_right", "none"),
    blind="nan",  # a softmax over no keys
)


def attend_in_torch(batch: Batch) -> Tensor:
    """Return attention ``[B, H, Lq, D]``, computed in float32, or in float64 for float64 inputs."""
    dtype = torch.promote_types(batch.q.dtype, torch.float32)
    repeats = batch.q.shape[1] // batch.k.shape[1]
    q, k, v = batch.q.to(dtype), *(x.to(dtype).repeat_interleave(repeats, dim=1) for x in (batch.k, batch.v))
    scores = q @ k.mT * batch.scale
    if batch.softcap:
        scores = (scores / batch.softcap).tanh() * batch.softcap
    if batch.slopes is not None:
        scores = scores - batch.slopes.to(dtype)[:, None, None] * batch.distance()
    visible = batch.visible()
    if batch.mask is not None and batch.mask.dtype == torch.bool:
        visible = visible & batch.mask
    elif batch.mask is not None:
        visible = visible & (batch.mask != -torch.inf)
        scores = scores + batch.mask.to(dtype)
    scores = scores.masked_fill(~visible, -torch.inf)
    if batch.sinks is not None:
        sinks = batch.sinks.to(dtype)[:, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = scores.softmax(dim=-1)[..., : k.shape[2]]
    return (weights @ v).to(batch.q.dtype)


class Written(BatchedAdapter):
    name = "written/torch"
    contract = EVERYTHING
    precision = Precision()
    weaker = (
        Weaker("nonfinite", "", "verification/adapters/written.py", "nothing is said of NaN and Inf"),
        Weaker("blind", "a softmax over no keys", "verification/adapters/written.py", "as it is written"),
    )

    def attend(self, batch: Batch) -> Tensor:
        return attend_in_torch(batch)
