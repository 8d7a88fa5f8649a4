"""Planted bugs: each swaps one small function of attn_core while a call runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from inspect import getdoc
from types import ModuleType
from typing import Any
from unittest import mock

from torch import Tensor

import attn_core
from verification.backends.attn_core import AttnCore, EngineCall
from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Call, Returned
from verification.backends.snippet import Library, Snippet
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

Original = Callable[..., Tensor]


@dataclass(frozen=True)
class Swap:
    """One function of attn_core, and another that replaces it."""

    owner: Any
    """The module or class that has the function."""
    target: str
    """Name of the function in its owner."""
    function: Callable[..., Any]
    """The replacement, which gets the original before the arguments."""

    def patch(self) -> Any:
        """Return a context that has the replacement in place: a plain function, so that it works as a method too."""
        function, original = self.function, getattr(self.owner, self.target)

        def replacement(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        return mock.patch.object(self.owner, self.target, replacement)

    def write_lines(self) -> tuple[str, str]:
        """Return two lines for a script: one imports the owner, the other swaps."""
        module = self.owner.__name__ if isinstance(self.owner, ModuleType) else self.owner.__module__
        folder, _, name = module.rpartition(".")
        if not isinstance(self.owner, ModuleType):
            folder, name = module, self.owner.__name__
        ours = module.startswith(f"{attn_core.__name__}.")
        owner = name if ours else "sys.modules[__name__]"
        line = f'swap({owner}, "{self.target}", {self.function.__name__})'
        return f"from {folder} import {name}" if ours else "import sys", line


@dataclass(frozen=True)
class Swapped:
    """A backend that is attn_core with functions swapped. Two threads must not call it at once: each swaps for both."""

    name: str
    swaps: tuple[Swap, ...] = field(repr=False)
    honest: AttnCore = field(default=AttnCore(), repr=False)

    @property
    def device(self) -> str:
        return self.honest.device

    @property
    def contract(self) -> Contract:
        return self.honest.contract

    @property
    def precision(self) -> Precision:
        return self.honest.precision

    def on(self, device: str) -> Backend:
        """Return the honest layer on ``device``: with the same fault on both devices, no law would see them differ."""
        return self.honest.on(device)

    def prepare(self, problem: Problem) -> Call:
        with self.in_place():
            return _SwappedCall(self, self.honest.prepare(problem))

    def share_state(self) -> Swapped:
        return replace(self, honest=self.honest.share_state())

    def snippet(self, problem: Problem) -> Snippet:
        """Return attn_core's snippet, with attn_core and what is swapped in it as its library."""
        honest = self.honest.snippet(problem)
        functions, lines = zip(*((swap.function, swap.write_lines()) for swap in self.swaps), strict=True)
        return replace(honest, imports="", library=Library(attn_core, honest.imports, functions, swaps.__name__, lines))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Have everything swapped for a while."""
        with ExitStack() as stack:
            for swap in self.swaps:
                stack.enter_context(swap.patch())
            yield


@dataclass(frozen=True)
class _SwappedCall:
    """A call of the layer with everything swapped."""

    backend: Swapped
    honest: EngineCall

    def __call__(self, tensors: Tensors) -> Returned:
        with self.backend.in_place():
            return self.honest(tensors)

    @property
    def layer(self) -> attn_core.Attention:
        return self.honest.layer


@dataclass(frozen=True)
class Fault:
    """A row of the catalogue."""

    id: str
    """Name of the fault, and of its backend."""
    sentence: str
    """Says what is wrong."""
    citation: str
    """The public thread that the fault comes from; empty where none is known."""
    swaps: tuple[Swap, ...] = field(repr=False)
    """Everything that is swapped."""

    def backend(self, device: str = "cpu") -> Backend:
        """Return attn_core with this fault, as a backend."""
        return Swapped(self.id, self.swaps, AttnCore(device))


def swaps(
    owner: Any, target: str, citation: str = "", on: tuple[Swap, ...] = ()
) -> Callable[[Callable[..., Any]], Fault]:
    """Return a decorator that makes a function the `Fault` of putting it in the place of ``owner.target``.

    The function's docstring is the sentence. ``on`` are further swaps, for a fault in a part that attn_core lacks.
    """

    def plant(function: Callable[..., Any]) -> Fault:
        name = function.__name__.replace("_", "-")
        return Fault(name, getdoc(function) or "", citation, (*on, Swap(owner, target, function)))

    return plant
