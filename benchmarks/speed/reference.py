"""The exact output, dense and in float64, and how far a timed output is from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import inf

import torch
from torch import Tensor

from benchmarks.speed.cases import Case

# Sequences of a case, and rows at each end of a prefill's sequence, that are compared: the rest would take too long.
MOST_SEQUENCES, ROWS = 32, 32
# Error that is allowed, as a share of the weighted sum of the values' magnitudes. Bad arithmetic breaks this bound; for
# one that bad masks break see the fuzz sessions.
SLACK = {"float64": 1e-12, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@dataclass(frozen=True)
class Checked:
    """The comparison of an output with the exact rows."""

    largest: float
    """Largest error of the rows that were compared; NaN if the output holds one anywhere, hidden or not."""
    wrong: bool
    """True if the error is more than rounding."""


class Reference:
    """The exact rows of some sequences, from the shortest to the longest; of a prefill the first and the last rows."""

    def __init__(self, case: Case) -> None:
        size = case.size
        self.slack = SLACK[size.dtype]
        order = sorted(range(size.batch), key=lambda i: size.lengths[i])
        count = min(size.batch, MOST_SEQUENCES)
        picked = {order[round(i * (size.batch - 1) / max(1, count - 1))] for i in range(count)}
        parts = [_compute_sequence(case, i) for i in sorted(picked)]
        self.rows, self.exact, self.magnitude = (torch.cat(x) for x in zip(*parts, strict=True))

    def check(self, output: Tensor) -> Checked:
        """Compare an output with the exact rows."""
        output = output.reshape(-1, *self.exact.shape[1:])
        if not bool(output.isfinite().all()):
            return Checked(inf if not bool(output.isnan().any()) else torch.nan, True)
        off = (output[self.rows].to(torch.float64) - self.exact).abs()
        return Checked(float(off.max()), bool((off > self.slack * self.magnitude).any()))


def _compute_sequence(case: Case, i: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the places in the output, the exact rows, and the weighted sums of the values' magnitudes."""
    size, device = case.size, case.size.device
    length = size.lengths[i]
    if size.phase == "prefill":
        start = [0, *accumulate(size.lengths)][i]
        k, v = (x[start : start + length] for x in (case.k, case.v))
        places = torch.arange(length, device=device)
        places = places[(places < ROWS) | (places >= length - ROWS)]
        rows = places + start
    else:
        assert case.context.block_tables is not None
        blocks = case.context.block_tables[i, : -(-length // size.block_size)].to(torch.int64)
        k, v = (cache[blocks].flatten(0, 1)[:length] for cache in (case.k_cache, case.v_cache))
        places, rows = torch.tensor([length - 1], device=device), torch.tensor([i], device=device)
    k, v = (x.to(torch.float64).transpose(0, 1) for x in (k, v))
    groups = case.q[rows].to(torch.float64).unflatten(1, (size.num_kv_heads, -1)).permute(1, 2, 0, 3)
    scores = groups @ k[:, None].mT / size.head_dim**0.5
    hidden = torch.arange(length, device=device) > places[:, None]
    weights = scores.masked_fill(hidden, -torch.inf).softmax(dim=-1)
    exact, magnitude = ((weights @ x[:, None]).permute(2, 0, 1, 3).flatten(1, 2) for x in (v, v.abs()))
    return rows, exact, magnitude
