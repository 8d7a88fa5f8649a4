"""What a kernel author writes to be asked: a class with a name, a contract, a precision, and one method.

`DenseAdapter` is for ``attend(q, k, v)``: the paging around it is `attn_core`'s. `PagedAdapter` is for a kernel that
reads and writes the paged cache itself. Asked as ``--backend module:Class``, or by the name of an entry point of the
group ``attention_verification.backends``.
"""

from __future__ import annotations

from typing import ClassVar, Self

from torch import Tensor

from verification.backend import Call, NotPortable
from verification.backends.dense import Dense, DenseBackend
from verification.contract import Contract
from verification.materialize import Tensors
from verification.precision import Precision
from verification.problem import Problem


def promising(*dtypes: str, **more: object) -> Contract:
    """The least that a kernel promises: numbers, in these dtypes, for finite input. ``more`` are fields of it."""
    return Contract(dtypes, **{"refuses": False, "range_events": False, "nonfinite": False, **more})  # type: ignore[arg-type]


class Adapter:
    """``device`` is the one that the kernel runs on; ``on`` may make others of it."""

    name: ClassVar[str]
    contract: ClassVar[Contract]
    precision: ClassVar[Precision] = Precision()
    device: str = "cpu"

    def on(self, device: str) -> Self:
        """Raises NotPortable for another device."""
        if device != self.device:
            raise NotPortable(f"device: {device!r} ({self.name} runs on {self.device})")
        return self


class PagedAdapter(Adapter):
    """A kernel with a paged cache of its own making: it stores the new tokens, then attends."""

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        """``[T, H * D]`` or ``[T, H, D]``, caches written in place. ``problem`` has sizes and conventions."""
        raise NotImplementedError

    def prepare(self, problem: Problem) -> Call:
        return lambda tensors: self.attend(problem, tensors).flatten(1)


class DenseAdapter(Adapter):
    """A dense kernel, asked for causal squares and for rows that see every key. ``dense`` is a method, or a function as
    ``staticmethod``; of one at the top of a module `attn-verify script` makes a file that runs without us.
    """

    dense: Dense

    def prepare(self, problem: Problem) -> Call:
        return self.as_backend().prepare(problem)

    def as_backend(self) -> DenseBackend:
        return DenseBackend(self.name, self.dense, self.contract, self.precision, self.device)
