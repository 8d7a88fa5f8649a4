"""What a script shows: calls that went wrong, in what way, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation


@dataclass(frozen=True)
class Step:
    """A call, on the ``layer``-th object that was prepared."""

    layer: int
    observation: Observation

    @property
    def arena(self) -> Arena:
        """What was handed over, and what the harness kept of it."""
        return self.observation.arena

    @property
    def inputs(self) -> Inputs:
        """The numbers of the call."""
        return self.observation.arena.inputs


@dataclass(frozen=True)
class Case:
    """Calls in the order in which they must be made; the last is the wrong one, in what it answered, refused or logged,
    or in that it never came back.

    ``bits``: its ``other_rows`` differ from the ``rows`` of the call number ``compared``. ``watched`` are tensors that
    it must not change.
    """

    kind: Literal["answer", "refusal", "log", "bits", "crash"]
    steps: tuple[Step, ...]
    compared: int = 0
    rows: tuple[int, ...] = ()
    other_rows: tuple[int, ...] = ()
    watched: tuple[str, ...] = ()


@dataclass(frozen=True)
class KernelCall:
    """A dense function's own call: ``q [H, Lq, D]``, ``k`` and ``v [H, Lk, D]``; ``output`` is None where it raised."""

    q: Tensor
    k: Tensor
    v: Tensor
    causal: bool
    scale: float
    output: NDArray[Any] | None


@dataclass(frozen=True)
class About:
    """What the script says of itself: texts of any origin, written as comments. ``problem`` is JSON."""

    law: str
    statement: str
    backend: str
    device: str
    message: str
    problem: str
