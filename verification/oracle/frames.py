"""Frames of a kernel's exception that are the kernel's own: neither the harness's nor torch's."""

from __future__ import annotations

import re
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import TypeVar

import torch

from verification.oracle.violation import BadOutput

Error = TypeVar("Error", bound=BaseException)
_ROOT = Path(__file__).parents[2]
_HARNESS = (_ROOT / "verification", _ROOT / "properties", Path(torch.__file__).parent)
# Folders of the harness whose code is under test itself.
_UNDER_TEST = (_ROOT / "verification" / "adapters", _ROOT / "verification" / "faults")
# The layer around a dense kernel, which is a kernel too where nothing else raised.
_LAYER = _ROOT / "attn_core"
# Packages that check shapes around a call.
_CHECKERS = frozenset({"jaxtyping", "typeguard", "beartype"})
# Frames that are told, the innermost ones.
_MOST = 8
_KEPT = "_attention_verification_frames"


def own_frames(error: BaseException) -> tuple[str, ...]:
    """Return the kernel's own frames, the innermost last, each as ``kernel.py:12, in attend: x = y[0]``."""
    kept: tuple[str, ...] | None = getattr(error, _KEPT, None)
    if kept is not None:
        return kept
    found = [frame for frame in extract_tb(error.__traceback__) if not _is_harness(frame.filename)]
    own = [frame for frame in found if not Path(frame.filename).is_relative_to(_LAYER)] or found
    return tuple(map(_tell, own[-_MOST:]))


def keep_frames(error: Error, frames: tuple[str, ...]) -> Error:
    """Return ``error``, which has ``frames`` from now on: a traceback does not travel between processes."""
    setattr(error, _KEPT, frames)
    return error


def name_error(error: BaseException) -> str:
    """Return the type of an exception with the kernel's line that raised it, or with its message but for numbers.

    It is equal for errors of one cause.
    """
    kind, frames = type(error).__name__, own_frames(error)
    if frames and not isinstance(error, BadOutput):
        return f"{kind} at {frames[-1]}"
    said = re.sub("[0-9]+", "#", " ".join(str(error).split()))
    return f"{kind}: {said}"


def _is_harness(name: str) -> bool:
    path = Path(name)
    if name.startswith("<frozen") or _CHECKERS & set(path.parts):
        return True
    return any(map(path.is_relative_to, _HARNESS)) and not any(map(path.is_relative_to, _UNDER_TEST))


def _tell(frame: FrameSummary) -> str:
    path = Path(frame.filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{frame.lineno}, in {frame.name}: {frame.line or ''}".removesuffix(": ")
