"""A dense attention function as a backend: its paging is `attn_core`'s, its arithmetic is its own.

Kernels differ in how they spell a mask, and not every kernel takes one. So each sequence is cut into what all of them
can say without: a causal square, and rows that see every key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from attn_core import Attention, eager
from attn_core.heads import repeat_kv
from verification.backends.attn_core import EngineCall, layer_for
from verification.backends.contract import Contract
from verification.backends.protocol import Call, NotPortable
from verification.backends.snippet import Snippet
from verification.oracle.precision import Precision
from verification.problem import Problem

# dense(q [H, Lq, D], k [H, Lk, D], v [H, Lk, D], causal, scale) -> [H, Lq, D], all in one dtype, the last dim
# contiguous, Lq and Lk positive. Where causal, Lq == Lk.
Dense = Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]


@dataclass(frozen=True)
class DenseBackend:
    """``dense`` decides about numbers; the store, the block tables and what is refused are the layer's.

    ``plain`` is how a script spells a call of ``dense``, with ``{causal}`` and ``{scale}`` in it; where it is empty the
    script has the source of ``dense``. A ``portable`` one does the same arithmetic on every device.
    """

    name: str
    dense: Dense = field(repr=False)
    contract: Contract = field(repr=False)
    precision: Precision = field(default=Precision(), repr=False)
    device: str = "cpu"
    plain: Snippet | None = field(default=None, repr=False)
    portable: bool = False

    def on(self, device: str) -> DenseBackend:
        if device != self.device and not self.portable:
            raise NotPortable(f"device: {device!r} ({self.name} on {self.device} is no kernel of other devices)")
        return replace(self, device=device)

    def prepare(self, problem: Problem) -> Call:
        return EngineCall(layer_for(problem, _Paged, dense=self.dense), problem)


def dense_contract(dtypes: tuple[str, ...], head_dims: tuple[int, ...] = ()) -> Contract:
    """No bits, no events, no word on NaN: kernels block, multiply masked values by 0 and log nothing."""
    return Contract(dtypes, range_events=False, nonfinite=False, head_dims=head_dims)


class _Paged(Attention):
    """The layer around another kernel. Nothing is widened: the kernel gets the queries' dtype."""

    def __init__(self, *sizes: Any, dense: Dense, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._dense = dense

    def _attend(
        self,
        q: Float[Tensor, "Lq H D"],
        k: Float[Tensor, "Lk G D"],
        v: Float[Tensor, "Lk G D"],
        dtype: torch.dtype,  # noqa: ARG002 (of eager's accumulation)
        hidden: Bool[Tensor, "Lq Lk"] | None = None,
        scores_name: str | None = None,  # noqa: ARG002 (kernels keep their scores)
    ) -> Float[Tensor, "Lq H D"]:
        counts = [len(k)] * len(q) if hidden is None else hidden.logical_not().sum(dim=-1).tolist()
        # Copies: torch calls a tensor of size 1 contiguous whatever its strides, and not every kernel does.
        q_heads = eager.widen(q, q.dtype).transpose(0, 1)
        k_heads, v_heads = (
            repeat_kv(eager.widen(x, q.dtype), self.num_rep, self.max_heads).transpose(0, 1) for x in (k, v)
        )
        return in_parts(self._dense, q_heads, k_heads, v_heads, counts, self.scale).transpose(0, 1)


def in_parts(
    dense: Dense,
    q: Float[Tensor, "H Lq D"],
    k: Float[Tensor, "H Lk D"],
    v: Float[Tensor, "H Lk D"],
    counts: Sequence[int],
    scale: float,
) -> Float[Tensor, "H Lq D"]:
    """Query ``a`` sees the first ``counts[a]`` keys. Counts are zeros, then rise by one, then stay: rows that see
    nothing give zeros, those that rise are the last rows of a causal square, those that stay see every key.
    """
    out = torch.zeros_like(q)
    keys = max(counts, default=0)  # what lies behind them is seen by nobody, and may hold anything
    if not keys:
        return out
    k, v = k[:, :keys], v[:, :keys]
    first, last = sum(count == 0 for count in counts), counts.index(keys)
    rows = last + 1 - first
    if list(counts[first : last + 1]) != list(range(keys - rows + 1, keys + 1)):
        raise ValueError(f"counts: {counts} (must be zeros, then rise by one, then stay)")
    if rows > 1:
        square = pad(q[:, first : last + 1], (0, 0, keys - rows, 0))
        out[:, first : last + 1] = dense(square, k, v, True, scale)[:, keys - rows :]
        last += 1
    if last < len(counts):
        out[:, last:] = dense(q[:, last:], k, v, False, scale)
    return out
