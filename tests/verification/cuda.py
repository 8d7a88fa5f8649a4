"""A stand-in for a torch that has CUDA devices, as many as a test wants. It tells which processes have called them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from verification.backends.devices import VISIBLE, _Asked

# Functions of `torch.cuda` that call CUDA. The first is called by all of torch that makes a tensor on a device.
CALLS = ("_lazy_init", "is_available", "device_count", "get_device_name", "current_device", "synchronize")


def stand_in(monkeypatch: pytest.MonkeyPatch, log: Path, names: Sequence[str]) -> Callable[[], set[int]]:
    """Let torch have these devices, as far as `VISIBLE` allows. Return what tells the processes that have called."""
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: bool(_visible(names)),
        "device_count": lambda: len(_visible(names)),
        "get_device_name": lambda number=0: _visible(names)[number],
    }

    def logged(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")
            return answers.get(name, lambda: None)(*arguments)

        return call

    for name in CALLS:
        monkeypatch.setattr(torch.cuda, name, logged(name))
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(_Asked, "wait", None)
    monkeypatch.setattr(_Asked, "found", None)
    monkeypatch.delenv(VISIBLE, raising=False)
    return lambda: {int(line) for line in log.read_text().split()} if log.exists() else set()


def _visible(names: Sequence[str]) -> list[str]:
    """Return the names of the devices that this process has: of parts of a GPU (MIG) one, as CUDA does it."""
    selectors = os.environ.get(VISIBLE, ",".join(map(str, range(len(names))))).split(",")
    found = [names[int(each[-1])] for each in selectors if each]
    return found[:1] if selectors[0].startswith("MIG-") else found
