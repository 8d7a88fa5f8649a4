"""Every implementation that has a name: ours, torch's kernels, planted faults, anybody's as ``module:attribute``."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isfunction
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch

from verification.backends.attn_core import FAST, AttnCore, fast
from verification.backends.captured import Compiled, Replayed
from verification.backends.contract import Contract
from verification.backends.kernels import cpu_kernels, cuda_kernels
from verification.backends.protocol import Backend, NotPortable
from verification.faults import FAULTS, HONEST_SPLIT_DECODE
from verification.oracle.precision import Precision
from verification.problem.declarations import told

DEVICES = ("cpu", "cuda")
ENTRY_POINTS = "attention_verification.backends"
# The parts of a backend, and what each must be.
_PARTS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("name", "device"), (str, "be a text")),
    "contract": (Contract, "be a Contract, as `promising` makes one"),
    "precision": (Precision, "be a Precision"),
    **dict.fromkeys(("prepare", "on"), (object, "")),
}


class UnknownBackend(LookupError):
    """No implementation has that name on that device."""


def implementations() -> dict[str, tuple[str, ...]]:
    """The honest ones and those that are installed by name, and the devices that each runs on."""
    found: dict[str, tuple[str, ...]] = {}
    for backend in every():
        found[backend.name] = (*found.get(backend.name, ()), backend.device)
    return found | {name: (_imported(where).device,) for name, where in installed().items()}


@cache
def installed() -> dict[str, str]:
    """Adapters that other packages bring, by the names that they give them: ``module:attribute``."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def every() -> list[Backend]:
    """The honest ones, on every device."""
    graphs: list[Backend] = [Replayed(fast(name, "cuda")) for name in ("sdpa", "flex")]
    return [*_ours("cpu"), HONEST_SPLIT_DECODE, *cpu_kernels(), *_ours("cuda"), *graphs, *cuda_kernels()]


def _ours(device: str) -> list[Backend]:
    return [AttnCore(device), *(fast(name, device) for name in FAST), Compiled(fast("auto", device))]


def is_foreign(name: str) -> bool:
    """Whether its code is somebody else's."""
    return ":" in installed().get(name, name)


@cache
def backend_named(name: str, device: str = "cpu") -> Backend:
    """By name, since a planted fault does not travel between processes. Raises UnknownBackend."""
    if device not in DEVICES:
        raise UnknownBackend(f"device: {device!r} (must be one of {', '.join(DEVICES)})")
    where = installed().get(name, name)
    if ":" in where:
        try:
            return _imported(where).on(device)
        except NotPortable as error:
            raise UnknownBackend(f"backend: {name!r}: {error}") from None
    if name in FAULTS:
        return FAULTS[name].backend(device)
    for backend in every():
        if (backend.name, backend.device) == (name, device):
            return backend
    if devices := implementations().get(name):
        raise UnknownBackend(f"backend: {name!r} has no implementation on {device} (it runs on {', '.join(devices)})")
    known = ", ".join(implementations())
    raise UnknownBackend(f"backend: {name!r} (must be one of {known}, a planted fault, or module:attribute)")


def devices_of(name: str) -> tuple[str, ...]:
    """On which it runs, whether they are here or not. Raises UnknownBackend."""
    where = installed().get(name, name)
    if ":" not in where:
        return implementations().get(name, DEVICES)
    found = _imported(where)
    return tuple(device for device in DEVICES if _is_for(found, device))


def _is_for(backend: Backend, device: str) -> bool:
    with suppress(NotPortable):
        backend.on(device)
        return True
    return False


def cannot_run(device: str) -> str:
    """Why nothing runs there; empty where it does."""
    return "no CUDA device" if device == "cuda" and not torch.cuda.is_available() else ""


def _imported(name: str) -> Backend:
    """Import an object, or what makes one. Raises UnknownBackend, in one line, for whatever its module raises."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # the folder that one is in comes first, as with `python -m`
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(import_module(module), attribute)
        made: Backend = found() if isinstance(found, type) or isfunction(found) else found
        parts = {part: getattr(made, part) for part in _PARTS if hasattr(made, part)}
    except Exception as error:
        raise UnknownBackend(f"backend: {name!r} ({_said(error, module)})") from None
    if missing := [part for part in _PARTS if part not in parts]:
        raise UnknownBackend(f"backend: {name!r} is no backend: it has no {', '.join(missing)}")
    for part, value in parts.items():
        kind, rule = _PARTS[part]
        if not isinstance(value, kind):
            raise UnknownBackend(f"backend: {name!r} ({told(part, value, rule)})")
    return made


def _said(error: Exception, module: str) -> str:
    """Return an error in one line, with the line of the package of ``module`` that raised it, where one did."""
    text = " ".join(str(error).split())
    if not isinstance(error, ImportError | AttributeError | ValueError | TypeError | SyntaxError) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    package = module.partition(".")[0]
    frames = [frame for frame in walk_tb(error.__traceback__) if _is_of(frame[0].f_globals, package)]
    if not frames or package == __package__:
        return text
    frame, line = frames[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}: {text}"


def _is_of(module: dict[str, Any], package: str) -> bool:
    return str(module.get("__name__")).partition(".")[0] == package
