"""Names of backends: ours, torch's kernels, planted faults, and anybody's as ``module:attribute``.

Ours and torch's are imported when one is asked for: they load torch's compiler, which takes a second that a process
which asks other people's backends alone need not wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isfunction
from pathlib import Path
from traceback import walk_tb
from typing import Any

from verification.backends.contract import Contract
from verification.backends.devices import list_cuda_devices
from verification.backends.documented import AS_DOCUMENTED, as_documented
from verification.backends.observe import is_ctrl_c
from verification.backends.packages import installed_packages
from verification.backends.protocol import Backend, NotPortable
from verification.oracle.precision import Precision
from verification.problem.declarations import told

DEVICES = ("cpu", "cuda")
ENTRY_POINTS = "attention_verification.backends"
# Each part of a backend, with its type and the rule for it. Calls are not looked into.
_PARTS: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("name", "device"), (str, "be a text")),
    "contract": (Contract, "be a Contract, as `promising` makes one"),
    "precision": (Precision, "be a Precision"),
    **dict.fromkeys(("prepare", "on"), (object, "")),
}


class UnknownBackend(LookupError):
    """Raised where no implementation has that name on that device; the message is one line."""


def implementations() -> dict[str, tuple[str, ...]]:
    """Return the names of all honest implementations that are ours or torch's, with the devices that each runs on."""
    found: dict[str, tuple[str, ...]] = {}
    for name, device in _makers():
        found[name] = (*found.get(name, ()), device)
    return found


@cache
def installed() -> dict[str, str]:
    """Return the adapters that installed packages declare, by name: each is a ``module:attribute``."""
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def make_honest() -> list[Backend]:
    """Return the honest implementations that are ours or torch's, on every device."""
    return [make() for make in _makers().values()]


@cache
def _makers() -> dict[tuple[str, str], Callable[[], Backend]]:
    """Return how each honest implementation that is ours or torch's is made, by name and device."""
    from verification.backends.attn_core import FAST, AttnCore, fast
    from verification.backends.captured import Compiled, Replayed
    from verification.backends.kernels import KERNELS
    from verification.faults import HONEST_SPLIT_DECODE

    def make_ours(device: str) -> list[Backend]:
        return [AttnCore(device), *(fast(name, device) for name in FAST), Compiled(fast("auto", device))]

    graphs = [Replayed(fast(name, "cuda")) for name in ("sdpa", "flex")]
    made = {"cpu": [*make_ours("cpu"), HONEST_SPLIT_DECODE], "cuda": [*make_ours("cuda"), *graphs]}
    found: dict[tuple[str, str], Callable[[], Backend]] = {}
    for device in DEVICES:
        found |= {(backend.name, device): partial(_itself, backend) for backend in made[device]}
        found |= {(name, device): make for name, make in KERNELS[device].items()}
    return found


def _itself(backend: Backend) -> Backend:
    return backend


def is_foreign(name: str) -> bool:
    """Return True if the code of the backend is neither ours nor torch's."""
    return ":" in _place_of(name)


def _place_of(name: str) -> str:
    """Return the ``module:attribute`` of an installed adapter, or the name itself, without the end `AS_DOCUMENTED`."""
    bare = name.removesuffix(AS_DOCUMENTED)
    return installed().get(bare, bare)


@cache
def backend_named(name: str, device: str = "cpu") -> Backend:
    """Return a backend by name: between processes names travel, since planted faults cannot be pickled.

    One that ends in `AS_DOCUMENTED` is judged by the precision that its documentation promises. Raises UnknownBackend.
    """
    if device not in DEVICES:
        raise UnknownBackend(f"device: {device!r} (must be one of {', '.join(DEVICES)})")
    if name.endswith(AS_DOCUMENTED):
        return as_documented(backend_named(name.removesuffix(AS_DOCUMENTED), device))
    where = _place_of(name)
    if ":" in where:
        try:
            return _import_backend(where).on(device)
        except NotPortable as error:
            raise UnknownBackend(f"backend: {name!r}: {error}") from None
    from verification.faults import FAULTS

    if name in FAULTS:
        return FAULTS[name].backend(device)
    if (name, device) in _makers():
        return _makers()[name, device]()
    if devices := implementations().get(name):
        raise UnknownBackend(f"backend: {name!r} has no implementation on {device} (it runs on {', '.join(devices)})")
    known = ", ".join([*implementations(), *installed()])
    raise UnknownBackend(f"backend: {name!r} (must be one of {known}, a planted fault, or module:attribute)")


def make_anew(name: str, device: str = "cpu") -> Backend:
    """Return a backend by name, made anew where it is made: a class by a call of it. Raises UnknownBackend."""
    return backend_named.__wrapped__(name, device)


def packages_of(name: str) -> dict[str, str]:
    """Return the versions of the installed packages that a foreign backend stands on, without importing its module."""
    module, colon, _ = installed().get(name, name).partition(":")
    return installed_packages(module) if colon else {}


def devices_of(name: str) -> tuple[str, ...]:
    """Return the devices that a backend runs on, whether this machine has them or not. Raises UnknownBackend."""
    where = _place_of(name)
    if ":" not in where:
        return implementations().get(where, DEVICES)
    found = _import_backend(where)
    return tuple(device for device in DEVICES if _runs_on(found, device))


def _runs_on(backend: Backend, device: str) -> bool:
    with suppress(NotPortable):
        backend.on(device)
        return True
    return False


def cannot_run(device: str) -> str:
    """Return the reason why nothing runs on that device here, or an empty text."""
    return "no CUDA device" if device == "cuda" and not list_cuda_devices() else ""


def _import_backend(name: str) -> Backend:
    """Import a backend, or import a class or function and call it to make one.

    Raises UnknownBackend, in one line, for whatever its module raises, and where the object is no backend.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder comes first, as with `python -m`
    module, _, attribute = name.partition(":")
    if module.endswith(".py"):
        meant = f"{Path(module).stem}:{attribute}"
        raise UnknownBackend(f"backend: {name!r} (must be module:attribute, from the folder of the file: {meant})")
    try:
        found: Any = getattr(import_module(module), attribute)
        made: Backend = found() if isinstance(found, type) or isfunction(found) else found
        parts = {part: getattr(made, part) for part in _PARTS if hasattr(made, part)}
    except BaseException as error:
        if is_ctrl_c(error):
            raise
        raise UnknownBackend(f"backend: {name!r} ({_describe_error(error, module)})") from None
    if missing := [part for part in _PARTS if part not in parts]:
        raise UnknownBackend(f"backend: {name!r} is no backend: it has no {', '.join(missing)}")
    for part, value in parts.items():
        kind, rule = _PARTS[part]
        if not isinstance(value, kind):
            raise UnknownBackend(f"backend: {name!r} ({told(part, value, rule)})")
        if isinstance(value, str) and not value.isprintable():
            raise UnknownBackend(f"backend: {name!r} ({told(part, value, 'be a text that prints')})")
    return made


def _describe_error(error: BaseException, module: str) -> str:
    """Return an error in one line, with file and line if the package of ``module`` raised it."""
    text = " ".join(str(error).split())
    if not isinstance(error, ImportError | AttributeError | ValueError | TypeError | SyntaxError) or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    package = module.partition(".")[0]
    frames = [frame for frame in walk_tb(error.__traceback__) if _is_in_package(frame[0].f_globals, package)]
    if not frames or package == __package__:
        return text
    frame, line = frames[-1]
    return f"{Path(frame.f_code.co_filename).name}, line {line}: {text}"


def _is_in_package(module: dict[str, Any], package: str) -> bool:
    return str(module.get("__name__")).partition(".")[0] == package
