"""Contents of a script: the calls that went wrong, how they did, and what the script says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation

# Parameters of a dense function that are no tensors.
KERNEL_RULES = ("causal", "scale")


@dataclass(frozen=True)
class Step:
    """A call that was observed."""

    layer: int
    """Number of the prepared object that was called."""
    observation: Observation

    @property
    def arena(self) -> Arena:
        """Return the memory of the call: what was handed over, and what the harness kept."""
        return self.observation.arena

    @property
    def inputs(self) -> Inputs:
        """Return the numbers of the call."""
        return self.observation.arena.inputs


@dataclass(frozen=True)
class Case:
    """Calls that show something wrong."""

    kind: Literal["answer", "refusal", "log", "bits", "crash"]
    """Says in what the last call is wrong: its answer, its refusal, its log, its bits, or that it never came back."""
    steps: tuple[Step, ...]
    """The calls in the order in which they must be made; the last one is wrong."""
    compared: int = 0
    """For "bits": index of the call that the last one is compared with."""
    rows: tuple[int, ...] = ()
    """For "bits": rows of the compared call."""
    other_rows: tuple[int, ...] = ()
    """For "bits": rows of the last call, which differ from ``rows`` and should not."""
    watched: tuple[str, ...] = ()
    """Tensors that the last call must not change."""


@dataclass(frozen=True)
class KernelCall:
    """A call of a dense function itself, without the paging around it."""

    q: Tensor
    """``[H, Lq, D]``."""
    k: Tensor
    """``[H, Lk, D]``."""
    v: Tensor
    """``[H, Lk, D]``."""
    causal: bool
    """True if query ``a`` sees the keys ``b <= a``, False if it sees all keys."""
    scale: float
    """Factor of the scores."""
    output: NDArray[Any] | None
    """``[H, Lq, D]``; None where the call raised."""


def spell_rules(calls: Sequence[KernelCall]) -> tuple[str, str]:
    """Return ``causal`` and ``scale`` as one function gives them to a kernel in all of these calls: as literals where
    the calls agree in both, else as the names of two parameters.
    """
    rules = [(call.causal, call.scale) for call in calls]
    return (repr(rules[0][0]), repr(rules[0][1])) if all(rule == rules[0] for rule in rules) else KERNEL_RULES


@dataclass(frozen=True)
class About:
    """Texts that a script says of itself, as comments. They may be of any origin."""

    law: str
    """Name of the law."""
    statement: str
    """The law itself."""
    backend: str
    """Name of the backend."""
    device: str
    """Device on which the law was broken."""
    message: str
    """Message of the violation."""
    problem: str
    """The problem as JSON."""
