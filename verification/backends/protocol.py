"""Who is asked: an implementation of attention under test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from verification.backends.contract import Contract
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

#: A bare tensor is the output named ``"out"``; others are returned beside it by their names in `table.OUTPUTS`.
Returned = Tensor | Mapping[str, Tensor]
Call = Callable[[Tensors], Returned]


class NotPortable(LookupError):
    """What has this name on another device is another implementation, or there is none."""


class Backend(Protocol):
    """An adapter names itself, says what it promises, and turns a problem into something that can be called.

    ``prepare(problem)`` makes whatever state the implementation keeps between calls (a module, a plan); the callable
    takes tensors of that problem's sizes and returns the output ``[T, H*D]`` or ``[T, H, D]``, or outputs by name, having
    written the caches in place.
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
        """The same implementation on another device. Raises NotPortable where there is none."""
        ...


@dataclass(frozen=True)
class Wrapped:
    """A backend that answers as another does; who wraps one says in what it differs."""

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
