"""A bug planted on purpose: one small function of attn_core is swapped while a call runs."""

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
from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Call, Returned
from verification.backends.snippet import Library, Snippet
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

Original = Callable[..., Tensor]


@dataclass(frozen=True)
class Swap:
    """``owner.target`` is replaced by ``function``, which gets the original before the arguments."""

    owner: Any
    target: str
    function: Callable[..., Any]

    def made(self) -> Any:
        """What to put in place: a plain function, so that it works as a method too."""
        function, original = self.function, getattr(self.owner, self.target)

        def replacement(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        return mock.patch.object(self.owner, self.target, replacement)

    def in_words(self) -> tuple[str, str]:
        """For a script: a line that imports the owner, and one that swaps."""
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
    """attn_core with functions swapped, as a backend. Calls of two threads at once would swap for each other."""

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
        """Of two devices one is honest, or no difference would ever be seen."""
        return self.honest.on(device)

    def prepare(self, problem: Problem) -> Call:
        with self._in_place():
            call = self.honest.prepare(problem)

        def swapped(tensors: Tensors) -> Returned:
            with self._in_place():
                return call(tensors)

        return swapped

    def snippet(self, problem: Problem) -> Snippet:
        """Return attn_core's snippet, with attn_core and what is swapped in it as its library."""
        honest = self.honest.snippet(problem)
        functions, lines = zip(*((swap.function, swap.in_words()) for swap in self.swaps), strict=True)
        return replace(honest, imports="", library=Library(attn_core, honest.imports, functions, swaps.__name__, lines))

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        with ExitStack() as stack:
            for swap in self.swaps:
                stack.enter_context(swap.made())
            yield


@dataclass(frozen=True)
class Fault:
    """A row of the catalogue. ``citation`` is the public thread that it comes from, empty where none is known."""

    id: str
    sentence: str
    citation: str
    swaps: tuple[Swap, ...] = field(repr=False)

    def backend(self, device: str = "cpu") -> Backend:
        """The layer with this fault."""
        return Swapped(self.id, self.swaps, AttnCore(device))


def swaps(
    owner: Any, target: str, citation: str = "", on: tuple[Swap, ...] = ()
) -> Callable[[Callable[..., Any]], Fault]:
    """Make a function the `Fault` that puts it in the place of ``owner.target``; its docstring is the sentence.

    ``on`` is what else must be swapped, for a fault in something that attn_core itself does not do.
    """

    def plant(function: Callable[..., Any]) -> Fault:
        name = function.__name__.replace("_", "-")
        return Fault(name, getdoc(function) or "", citation, (*on, Swap(owner, target, function)))

    return plant
