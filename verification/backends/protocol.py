"""The protocol of a backend: an implementation of attention under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from verification.backends.contract import Contract
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

# A bare tensor is the output ``"out"``. A mapping has it under that name, with others of `table.OUTPUTS` beside it.
Returned = Tensor | Mapping[str, Tensor]
Call = Callable[[Tensors], Returned]


class NotPortable(LookupError):
    """Raised for a backend on another device, where its name stands for another implementation, or for none."""


class NotAsked(BaseException):
    """Raised where a backend could not be asked, and is not to blame for it; the message is one line.

    No `Exception`: neither Hypothesis nor a law may take it for a failure of the backend.
    """


class Escape(Exception):
    """Carries an exception that a backend raised and that is none of `Exception`, as SystemExit or KeyboardInterrupt.

    Raised as itself it would end whoever asks the backend.
    """

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"{type(raised).__name__}: {raised}")
        self.raised = raised


class Backend(Protocol):
    """An implementation under test: its name, its promises, and a call for each problem.

    ``prepare(problem)`` makes the state that the implementation keeps between calls (a module, a plan). The call that
    it returns takes tensors of that problem's sizes, writes the caches in place, and returns the output, ``[T, H * D]``
    or ``[T, H, D]``, or outputs by name.
    """

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def contract(self) -> Contract: ...
    @property
    def precision(self) -> Precision: ...
    def prepare(self, problem: Problem) -> Call: ...
    def on(self, device: str) -> Backend:
        """Return this implementation on another device. Raises NotPortable where there is none."""
        ...


@dataclass(frozen=True)
class Wrapped:
    """A backend that answers as ``inner`` does; a subclass overrides what is different."""

    inner: Backend

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def device(self) -> str:
        return self.inner.device

    @property
    def contract(self) -> Contract:
        return self.inner.contract

    @property
    def precision(self) -> Precision:
        return self.inner.precision

    def on(self, device: str) -> Backend:
        return replace(self, inner=self.inner.on(device))

    def prepare(self, problem: Problem) -> Call:
        return self.inner.prepare(problem)
