"""The protocol of a backend: an implementation of attention under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

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


class Unprepared(BaseException):
    """Carries what a backend raised when it prepared a call, where that was left until the call is made.

    No `Exception`, for it is no answer to the call: whoever makes the call raises what it carries.
    """

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"{type(raised).__name__}: {raised}")
        self.raised = raised


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
    it returns takes tensors of that problem: of its sizes, lengths, slots and tables, with its numbers or others. It
    writes the caches in place, and returns the output, ``[T, H * D]`` or ``[T, H, D]``, or outputs by name.

    What is kept from one problem to the next lies in the backend itself, or is what `SharesState` speaks of.
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


@runtime_checkable
class SharesState(Protocol):
    """A backend each of whose calls has a state of its own, and that can also make calls which share one."""

    def share_state(self) -> Backend:
        """Return this backend with one state for all its calls, as an engine has one layer for all of them."""
        ...


def share_state(backend: Backend) -> Backend:
    """Return the backend with one state for all its calls: as it is, where whatever it keeps lies in itself."""
    return backend.share_state() if isinstance(backend, SharesState) else backend


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

    def share_state(self) -> Backend:
        return replace(self, inner=share_state(self.inner))

    def prepare(self, problem: Problem) -> Call:
        return self.inner.prepare(problem)
