"""A dense attention function as a backend: its arithmetic is its own, the paging around it is `attn_core`'s.

Kernels differ in how a mask is given to them, and some take none. So each sequence is cut into two calls that need no
mask: a causal square, and rows that see every key.
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
from verification.backends.attn_core import EngineCall, make_layer
from verification.backends.contract import Contract
from verification.backends.documented import Weaker
from verification.backends.protocol import Call, NotPortable
from verification.backends.returned import check_returned
from verification.backends.snippet import Snippet
from verification.oracle.precision import Precision
from verification.problem import Problem

# dense(q [H, Lq, D], k [H, Lk, D], v [H, Lk, D], causal, scale) -> [H, Lq, D]. All are of one dtype, the last dim is
# contiguous, Lq and Lk are positive. A causal call has Lq == Lk.
Dense = Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]


@dataclass(frozen=True)
class DenseBackend:
    """A dense function in the layer: ``dense`` decides about numbers; the store, the block tables and the refusals are
    the layer's.
    """

    name: str
    """Name of the backend in reports and on the command line."""
    dense: Dense = field(repr=False)
    """The function under test."""
    contract: Contract = field(repr=False)
    """Promises of the function; those about bad input are kept by the layer."""
    precision: Precision = field(default=Precision(), repr=False)
    """Formats in which the function rounds."""
    device: str = "cpu"
    """The device that the function is called on."""
    plain: Snippet | None = field(default=None, repr=False)
    """A call of ``dense`` in library terms, with ``{causal}`` and ``{scale}`` in it; None where a script shows the
    source of ``dense``."""
    portable: bool = False
    """True if the function does the same arithmetic on every device."""
    documented: Precision | None = field(default=None, repr=False)
    """The precision that the library's documentation promises, where that is sharper than ``precision``."""
    weaker: tuple[Weaker, ...] = field(default=(), repr=False)
    """A line for each declaration that is weaker than it could be."""

    def on(self, device: str) -> DenseBackend:
        if device != self.device and not self.portable:
            raise NotPortable(f"device: {device!r} ({self.name} on {self.device} is no kernel of other devices)")
        return replace(self, device=device)

    def prepare(self, problem: Problem) -> Call:
        return EngineCall(make_layer(problem, _Paged, dense=self.dense), problem)


def dense_contract(dtypes: tuple[str, ...], head_dims: tuple[int, ...] = ()) -> Contract:
    """Return a contract without bits, events and NaN: kernels block, log nothing and multiply masked values by 0."""
    return Contract(dtypes, range_events=False, nonfinite=False, head_dims=head_dims)


class _Paged(Attention):
    """The layer around another kernel, which gets all tensors in the dtype of the queries."""

    def __init__(self, *sizes: Any, dense: Dense, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._dense = dense

    def _attend(
        self,
        q: Float[Tensor, "Lq H D"],
        k: Float[Tensor, "Lk G D"],
        v: Float[Tensor, "Lk G D"],
        dtype: torch.dtype,  # noqa: ARG002 (the dtype in which eager accumulates; a kernel has its own)
        hidden: Bool[Tensor, "Lq Lk"] | None = None,
        scores_name: str | None = None,  # noqa: ARG002 (kernels keep their scores)
    ) -> Float[Tensor, "Lq H D"]:
        counts = [len(k)] * len(q) if hidden is None else hidden.logical_not().sum(dim=-1).tolist()
        # `widen` copies. Torch calls a dim of size 1 contiguous whatever its stride, and some kernels do not.
        q_heads = eager.widen(q, q.dtype).transpose(0, 1)
        k_heads, v_heads = (
            repeat_kv(eager.widen(x, q.dtype), self.num_rep, self.max_heads).transpose(0, 1) for x in (k, v)
        )
        return attend_in_parts(self._dense, q_heads, k_heads, v_heads, counts, self.scale).transpose(0, 1)


def attend_in_parts(
    dense: Dense,
    q: Float[Tensor, "H Lq D"],
    k: Float[Tensor, "H Lk D"],
    v: Float[Tensor, "H Lk D"],
    counts: Sequence[int],
    scale: float,
) -> Float[Tensor, "H Lq D"]:
    """Return attention in which query ``a`` sees the first ``counts[a]`` keys.

    Counts are zeros, then rise by one, then stay. Rows with 0 become zeros, rows whose counts rise are the last rows of
    a causal square, rows whose counts stay see every key. Raises ValueError for other counts.
    """
    out = torch.zeros_like(q)
    keys = max(counts, default=0)  # later keys are seen by no query, and may hold anything
    if not keys:
        return out
    k, v = k[:, :keys], v[:, :keys]
    first, last = sum(count == 0 for count in counts), counts.index(keys)
    rows = last + 1 - first
    if list(counts[first : last + 1]) != list(range(keys - rows + 1, keys + 1)):
        raise ValueError(f"counts: {counts} (must be zeros, then rise by one, then stay)")
    if rows > 1:
        square = pad(q[:, first : last + 1], (0, 0, keys - rows, 0))
        out[:, first : last + 1] = _call(dense, square, k, v, True, scale)[:, keys - rows :]
        last += 1
    if last < len(counts):
        out[:, last:] = _call(dense, q[:, last:], k, v, False, scale)
    return out


def _call(dense: Dense, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """Return what the function returned. Raises BadOutput where that is not of the shape of ``q``."""
    return check_returned("dense", dense(q, k, v, causal, scale), q.shape, "[H, Lq, D]")
