"""CUDA devices of this machine, and which of them a process has.

A process that has asked for them can fork none that uses them. So a session that forks its workers has a child ask.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

# The variable in which a person, or a session for a worker, names the devices that a process may use.
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Device:
    name: str
    selector: str
    """The value of `VISIBLE` by which it is the only device of a process: a number, or the start of a UUID."""


class _Asked:
    """The answer that this process has, or waits for."""

    wait: Callable[[], Any] | None = None
    found: tuple[Device, ...] | None = None


def ask_early() -> None:
    """Have a child process look for the devices while this one goes on, unless this one has called CUDA already: then
    no child could, and nothing is lost where this process looks.
    """
    if _Asked.wait is None and _Asked.found is None and _is_fork_needed() and not has_touched_cuda():
        _Asked.wait = _ask_in_child(_find_all)


def list_cuda_devices() -> tuple[Device, ...]:
    """Return the devices that CUDA has for this process, in its order. Where no child was asked, this process looks."""
    if _Asked.found is None:
        found = (_Asked.wait or _find_visible)()
        _Asked.found = tuple(Device(name, selector) for name, selector in found or ())
    return _Asked.found


def has_touched_cuda() -> bool:
    """Return True if this process has called CUDA, after which its forks cannot: torch tells that to a fork alone."""
    return _is_fork_needed() and _ask_in_child(torch.cuda._is_in_bad_fork)() is not False


def describe_devices(devices: tuple[Device, ...]) -> str:
    """Return the names of devices; of several also how many and which."""
    if len(devices) < 2:
        return devices[0].name if devices else "CPU only"
    selectors: dict[str, list[str]] = {}
    for device in devices:
        selectors.setdefault(device.name, []).append(device.selector)
    return " and ".join(f"{len(mine)} x {name} ({', '.join(mine)})" for name, mine in selectors.items())


def is_awake() -> bool:
    """Return True if this process uses a CUDA device."""
    cuda: Any = torch.cuda
    return bool(cuda.is_initialized())


def wake_device(device: str) -> None:
    """Have this process use its device, so that no problem waits until it is awake. Where that fails, the first problem
    tells.
    """
    tell_lost(device)


def tell_lost(device: str) -> str:
    """Return the CUDA error with which the device of this process is lost, which stays until the process ends; empty
    where it is not lost.
    """
    try:
        if device == "cuda":
            torch.cuda.synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _is_fork_needed() -> bool:
    """Return True where workers are forked, and may use CUDA."""
    cuda: Any = torch.backends.cuda
    return sys.platform == "linux" and bool(cuda.is_built())


def _ask_in_child(ask: Callable[[], Any]) -> Callable[[], Any]:
    """Have a fork of this process ask. Return a function that waits for the answer: None where the fork died of it."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.write(write, json.dumps(ask()).encode())
        finally:
            os._exit(0)
    os.close(write)

    def wait() -> Any:
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        os.waitpid(process, 0)
        return json.loads(said) if said else None

    return wait


def _find_all() -> list[tuple[str, str]]:
    """Return name and selector of each device. A process may have one part of a GPU (MIG) and no more, whatever it is
    given, so for each of several parts another process looks.
    """
    named = os.environ.get(VISIBLE, "").split(",")
    if not named[0].startswith("MIG-"):
        return _find_visible()
    return [found for each in named for found in _ask_in_child(partial(_find_alone, each))() or ()]


def _find_alone(selector: str) -> list[tuple[str, str]]:
    os.environ[VISIBLE] = selector
    return _find_visible()


def _find_visible() -> list[tuple[str, str]]:
    """Return name and selector of each device that this process has. From here on it has touched CUDA."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get(VISIBLE)
    selectors = [str(number) for number in range(count)] if visible is None else visible.split(",")[:count]
    return [(torch.cuda.get_device_name(number), each.strip()) for number, each in enumerate(selectors)]
