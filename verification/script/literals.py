"""Tensors as Python literals, with every number exactly and every stride that matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verification.backends.observe import to_numpy
from verification.backends.snippet import ScriptError
from verification.problem.formats import FORMATS
from verification.problem.misuse import MISUSES
from verification.problem.table import CACHES, TENSORS, TOKENS
from verification.script.text import WIDTH
from verification.tensors.arena import contiguous_strides
from verification.tensors.inputs import POISON_BYTE, Inputs, poison_around
from verification.tensors.layout import fused_names
from verification.tensors.materialize import Arena, apply_misuse, view_tensors

Array = NDArray[Any]
# A longer script helps nobody: its problem must be made smaller first.
MOST_NUMBERS = 20_000
# A tensor with fewer elements is written out in full: it is easily read, whatever it holds.
_FULL_FROM = 64


class Literals:
    """A writer of assignments, which counts the numbers in them."""

    def __init__(self, device: str) -> None:
        self.numbers = 0
        self.restrided = False
        self._device = "" if device == "cpu" else f', device="{torch.device(device).type}"'

    def call(self, arena: Arena, names: Sequence[str], suffix: str, spoiled: bool) -> list[str]:
        """Return assignments of these tensors as they were before the call, to their names followed by ``suffix``."""
        problem, inputs, lines = arena.inputs.problem, arena.inputs, list[str]()
        arena = replace(arena, tensors=view_tensors(arena.spans, torch.from_numpy(arena.before)))
        if spoiled:
            arena = apply_misuse(MISUSES[problem.misuse], arena)
        joined: dict[str, list[str]] = {}
        if not spoiled and problem.layout == "fused":
            joined |= self._fused(inputs, suffix)
        if not spoiled and problem.num_blocks and problem.cache_layout == "interleaved":
            joined |= self._interleaved(inputs, suffix)
        for name in names:
            if name in joined:
                lines += joined[name]
            else:
                poison = POISON_BYTE[poison_around(problem, name)]
                gap = np.full(8, poison, np.uint8).view(FORMATS[problem.dtype].numpy)[:1]
                strided = problem.layout == "strided" and name in TOKENS
                value, axes = getattr(arena.tensors, name), TENSORS[name].axes
                lines += self.assignment(f"{name}{suffix}", value, axes, gap if strided else None, exactly=True)
        return lines

    def assignment(
        self, name: str, value: Any, axes: Sequence[str], gap: Array | None = None, exactly: bool = False
    ) -> list[str]:
        """Return the lines of ``name = ...`` for a tensor, or for the object that was given in its place.

        ``gap`` lies between its elements. The strides of axes with one element are kept only where ``exactly`` is True.
        """
        if not isinstance(value, Tensor):
            return [f"{name} = ({self.flat(value)})" if isinstance(value, list) else f"{name} = {value!r}"]
        if value.device.type == "meta":
            return [f'{name} = torch.empty({tuple(value.shape)}, dtype={value.dtype}, device="meta")']
        sizes = (
            value.shape if len(axes) != value.dim() else [f"{a}={n}" for a, n in zip(axes, value.shape, strict=True)]
        )
        note = f"  # [{', '.join(map(str, sizes))}]"
        packed = contiguous_strides(tuple(value.shape), 1) if exactly else value.stride()
        if not value.numel() or (value.is_contiguous() and value.stride() == packed):
            return self._filled(name, to_numpy(value), value.dtype, note)
        self.restrided = True
        lines = self._filled(name, to_numpy(value), value.dtype, note)
        between = "" if gap is None or not gap.any() else f", {_plain(gap)[0]!r}"
        return [*lines, f"{name} = restrided({name}, {tuple(value.stride())}{between})"]

    def flat(self, values: Any, indent: str = "    ") -> str:
        """Return nested lists of numbers, on several lines of `WIDTH` where one is too short.

        Raises ScriptError where the script has more than `MOST_NUMBERS`.
        """
        text = repr(values)
        self.numbers += text.count(",") + 1
        if self.numbers > MOST_NUMBERS:
            raise ScriptError(f"tensors: more than {MOST_NUMBERS} numbers to write down (must be a smaller problem)")
        if len(text) + 40 <= WIDTH:
            return text
        room = WIDTH - len(indent)
        lines = wrap(text, room, break_long_words=False, break_on_hyphens=False)
        return f"\n{indent}" + f"\n{indent}".join(lines) + "\n"

    def _filled(self, name: str, array: Array, dtype: torch.dtype, note: str) -> list[str]:
        """Return lines for a tensor: if it is large and nearly all one number, that number and the rows with others."""
        if not array.size:
            return [f"{name} = torch.empty({array.shape}, dtype={dtype}{self._device}){note}"]
        bits = array.reshape(len(array), -1).view(f"u{array.dtype.itemsize}")
        patterns, counts = np.unique(bits, return_counts=True)
        common = patterns[counts.argmax()]
        rows = np.flatnonzero((bits != common).any(axis=1))
        if array.size < _FULL_FROM or 2 * len(rows) > len(array):
            return [self._tensor(name, array, dtype, note)]
        fill = array.reshape(-1)[int(np.flatnonzero(bits.reshape(-1) == common)[0])]
        lines = [f"{name} = torch.full({array.shape}, {_plain(fill)!r}, dtype={dtype}{self._device}){note}"]
        if len(rows):
            lines.append(self._tensor(f"{name}[{self.flat(rows.tolist())}]", array[rows], dtype, ""))
        return lines

    def _tensor(self, name: str, array: Array, dtype: torch.dtype, note: str) -> str:
        numbers = self.flat(_plain(array))
        if numbers.startswith("\n"):
            return f"{name} = torch.tensor({numbers[:-1]},\n    dtype={dtype}{self._device},\n){note}"
        return f"{name} = torch.tensor({numbers}, dtype={dtype}{self._device}){note}"

    def _fused(self, inputs: Inputs, suffix: str) -> dict[str, list[str]]:
        """Return lines by tensor that make q, k and v (or k and v, see `fused_names`) head ranges of one tensor."""
        names = fused_names(inputs)
        whole = np.concatenate([getattr(inputs, name) for name in names], axis=1)
        joined, start, lines = f"{''.join(names)}{suffix}", 0, []
        for name in names:
            stop = start + getattr(inputs, name).shape[1]
            lines.append(f"{name}{suffix} = {joined}[:, {start}:{stop}]")
            start = stop
        made = self._filled(joined, whole, FORMATS[inputs.problem.dtype].torch, f"  # {', '.join(names)} side by side")
        return {names[0]: [*made, *lines], **{name: [] for name in names[1:]}}

    def _interleaved(self, inputs: Inputs, suffix: str) -> dict[str, list[str]]:
        """Return lines by tensor that make both caches halves of one tensor."""
        joined = f"kv_cache{suffix}"
        whole = np.stack([getattr(inputs, name) for name in CACHES], axis=1)
        note = "  # [N, 2, S, G, D]: both caches, block by block"
        made = self._filled(joined, whole, FORMATS[inputs.problem.cache_format].torch, note)
        names = ", ".join(f"{name}{suffix}" for name in CACHES)
        return {CACHES[0]: [*made, f"{names} = {joined}.unbind(1)"], **{name: [] for name in CACHES[1:]}}


def _plain(array: Any) -> Any:
    """Return the numbers as Python's own, exactly."""
    if array.dtype.kind in "biu":
        return array.tolist()
    return array.astype(np.float64).tolist()
