"""The one module that the author of a kernel imports: bases of adapters, and the names in their declarations.

An adapter is a class with a name, a contract, a precision and one method. `DenseAdapter` is for a function of q, k and
v: the paging around it is `attn_core`'s. `PagedAdapter` is for a kernel that reads and writes the paged cache itself,
`BatchedAdapter` for dense batches under masks and other scoring. The command line takes an adapter as ``--backend
module:Class``, or by the name of an entry point of the group ``attention_verification.backends``. `attn-verify script`
cuts the class out of its module, so it must stand at the top level there, and be made without arguments.

Besides the bases, this module has the types that their methods are given (`Problem` with its `Scoring`, `Tensors`,
`Batch`), and the parts of a declaration: `Contract`; `Precision`, with ready ones for kinds of kernels (`FLASH_ON_CPU`,
...); `DTYPES`, those of problems, `FORMATS`, those of storage, and `INPUT`, which stands for the problem's own;
`Weaker`, a line about a declaration that is weaker than it could be; `FEATURES`, the names that a contract may have in
its ``scoring``; `slopes`, those of alibi; for FlexAttention `uncompiled`,
`flex_eager_precision` and `flex_eager_lines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self, Unpack

import torch
from torch import Tensor

from verification.backends.contract import Contract, named_promises
from verification.backends.dense import Dense, DenseBackend
from verification.backends.documented import Weaker
from verification.backends.kernels import flex_eager_precision, uncompiled
from verification.backends.profiles import (
    FLASH_2,
    FLASH_ON_CPU,
    FLASH_ON_MATRIX_UNITS,
    FLUSHING_FLASH,
    MATH,
    SPLIT_FLASH,
    SPLIT_ON_CPU,
)
from verification.backends.promises import Promises
from verification.backends.protocol import Call, NotPortable, Returned
from verification.backends.returned import check_returned
from verification.backends.torch_lines import FLASH_ON_CPU_LINES, flex_eager_lines
from verification.oracle.precision import INPUT, Precision
from verification.problem import Problem, Scoring
from verification.problem.declarations import told
from verification.problem.formats import DTYPES, FORMATS
from verification.problem.scoring import FEATURES, slopes
from verification.tensors.materialize import Tensors

__all__ = [
    "DTYPES",
    "FEATURES",
    "FLASH_2",
    "FLASH_ON_CPU",
    "FLASH_ON_CPU_LINES",
    "FLASH_ON_MATRIX_UNITS",
    "FLUSHING_FLASH",
    "FORMATS",
    "INPUT",
    "MATH",
    "SPLIT_FLASH",
    "SPLIT_ON_CPU",
    "Adapter",
    "Batch",
    "BatchedAdapter",
    "Call",
    "Contract",
    "DenseAdapter",
    "NotPortable",
    "PagedAdapter",
    "Precision",
    "Problem",
    "Returned",
    "Scoring",
    "Tensors",
    "Weaker",
    "flex_eager_lines",
    "flex_eager_precision",
    "promising",
    "slopes",
    "uncompiled",
]


def promising(*dtypes: str, **promises: Unpack[Promises]) -> Contract:
    """Return the least that a kernel promises: right numbers, in these dtypes, for finite input.

    ``promises`` are fields of `Contract` that are promised besides. Raises ValueError or TypeError, in one line, for a
    misspelt one.
    """
    given = named_promises("promising", dict(promises), Promises.__annotations__)
    return Contract(dtypes, **{"refuses": False, "range_events": False, "nonfinite": False, **given})


class Adapter:
    """The parts that all adapters have. A kernel of several devices overrides ``on``."""

    name: ClassVar[str]
    contract: ClassVar[Contract]
    precision: ClassVar[Precision] = Precision()
    documented: ClassVar[Precision | None] = None
    """The precision that the library's documentation promises, where that is sharper than the declared one."""
    weaker: ClassVar[tuple[Weaker, ...]] = ()
    """A line for each declaration that is weaker than it could be."""
    device: str = "cpu"
    """The device that the kernel runs on."""

    def on(self, device: str) -> Self:
        """Return the adapter on its own device. Raises NotPortable for another one."""
        if device != self.device:
            raise NotPortable(f"device: {device!r} ({self.name} runs on {self.device})")
        return self


class PagedAdapter(Adapter):
    """A kernel with a paged cache of its own making: it stores the new tokens, then attends."""

    def attend(self, problem: Problem, tensors: Tensors) -> Returned:
        """Return the output, ``[T, H * D]`` or ``[T, H, D]``, and write the caches in place.

        ``problem`` has sizes and conventions. Other outputs may be returned beside it, in a dict by name.
        """
        raise NotImplementedError

    def prepare(self, problem: Problem) -> Call:
        return lambda tensors: self.attend(problem, tensors)


class DenseAdapter(Adapter):
    """A dense kernel, asked for causal squares and for rows that see every key. ``dense`` is a method, or a function as
    ``staticmethod``.
    """

    dense: Dense
    """``dense(q, k, v, causal, scale)``, all ``[H, L, D]``; see `verification.backends.dense.Dense`."""

    def prepare(self, problem: Problem) -> Call:
        return self.as_backend().prepare(problem)

    def as_backend(self) -> DenseBackend:
        return DenseBackend(self.name, self.dense, self.contract, self.precision, self.device)


@dataclass(frozen=True)
class Batch:
    """A dense call with its scoring: all that a `BatchedAdapter` is given."""

    q: Tensor
    """Queries, ``[B, H, Lq, D]``."""
    k: Tensor
    """Keys, ``[B, G, Lk, D]``."""
    v: Tensor
    """Values, ``[B, G, Lk, D]``."""
    alignment: str
    """Where the diagonal lies: "top_left", "bottom_right", or "none" where every query sees every key."""
    scale: float
    """Factor of the products of queries and keys."""
    softcap: float
    """Bound of ``softcap * tanh(score / softcap)``; 0 for none."""
    window: int
    """How many keys a query sees, its own position's and those before it; 0 for all."""
    mask: Tensor | None
    """``[B, H, Lq, Lk]``, or 1 wide on some axes: boolean, true where a key is seen, or what is added to the scores."""
    sinks: Tensor | None
    """A logit a head that joins each row, ``[H]``; its weight goes nowhere."""
    slopes: Tensor | None
    """Alibi's slopes, ``[H]`` in float32."""

    def visible(self) -> Tensor:
        """Return True where a query sees a key by causality and window alone, ``[Lq, Lk]``."""
        queries, keys = self.q.shape[2], self.k.shape[2]
        if self.alignment == "none":
            return torch.ones(queries, keys, dtype=torch.bool, device=self.q.device)
        distance = self.distance()
        return (distance >= 0) & (distance < self.window) if self.window else distance >= 0

    def whole_mask(self) -> Tensor:
        """Return the mask with the keys that `visible` hides: boolean, unless it is added to the scores."""
        if self.mask is None:
            return self.visible()
        if self.mask.dtype == torch.bool:
            return self.visible() & self.mask
        return self.mask.masked_fill(~self.visible(), -torch.inf)

    def distance(self) -> Tensor:
        """Return how far each key lies before each query's position, ``[Lq, Lk]``."""
        queries, keys = self.q.shape[2], self.k.shape[2]
        first = 0 if self.alignment == "top_left" else keys - queries
        place = torch.arange(first, first + queries, device=self.q.device)
        return place[:, None] - torch.arange(keys, device=self.q.device)


class BatchedAdapter(Adapter):
    """A dense kernel with masks, windows and the like: its contract has ``dense_batches`` and its ``scoring``.

    Raises ValueError where the class is made with a contract without ``dense_batches``.
    """

    def __init_subclass__(cls) -> None:
        contract = vars(cls).get("contract")
        if isinstance(contract, Contract) and not contract.dense_batches:
            raise ValueError(told("contract.dense_batches", False, "be True in a BatchedAdapter"))

    def attend(self, batch: Batch) -> Tensor:
        """Return the output, ``[B, H, Lq, D]``."""
        raise NotImplementedError

    def prepare(self, problem: Problem) -> Call:
        scoring = problem.scoring

        def call(tensors: Tensors) -> Tensor:
            q, k, v = (
                x.view(problem.num_sequences, -1, *x.shape[1:]).transpose(1, 2)
                for x in (tensors.q, tensors.k, tensors.v)
            )
            of_heads = torch.from_numpy(slopes(problem.num_heads)).to(q.device) if scoring.alibi else None
            rules = problem.causal_alignment, problem.scale, scoring.softcap, scoring.window
            returned = self.attend(Batch(q, k, v, *rules, tensors.mask, tensors.sinks, of_heads))
            out = check_returned("attend", returned, q.shape, "[B, H, Lq, D]")
            return out.transpose(1, 2).flatten(2).flatten(0, 1)

        return call
