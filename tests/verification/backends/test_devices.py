"""Which devices there are is found out by a child, and told as it was found."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from tests.verification.cuda import stand_in
from verification.backends.devices import (
    VISIBLE,
    Device,
    ask_early,
    describe_devices,
    has_touched_cuda,
    list_cuda_devices,
    tell_lost,
)
from verification.backends.flags import recorded_flags
from verification.catalogue import cannot_run

CARDS = ("Card A", "Card B", "Card B")


@pytest.mark.parametrize(
    ("visible", "wanted"),
    [
        (None, [("Card A", "0"), ("Card B", "1"), ("Card B", "2")]),
        ("", []),
        ("2", [("Card B", "2")]),
        ("1, 0", [("Card B", "1"), ("Card A", "0")]),
        ("GPU-c1,GPU-c0", [("Card B", "GPU-c1"), ("Card A", "GPU-c0")]),
        ("MIG-c1,MIG-c0", [("Card B", "MIG-c1"), ("Card A", "MIG-c0")]),
    ],
)
def test_a_child_finds_the_devices(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, wanted: list[tuple[str, str]]
) -> None:
    """Those that a person lets us have, by the names that CUDA knows them by; this process calls CUDA for none."""
    called = stand_in(monkeypatch, tmp_path / "calls", CARDS)
    if visible is not None:
        monkeypatch.setenv(VISIBLE, visible)
    ask_early()
    ask_early()
    assert list_cuda_devices() == tuple(Device(*each) for each in wanted)
    assert bool(cannot_run("cuda")) is not bool(wanted)
    assert called()
    assert os.getpid() not in called()
    assert os.environ.get(VISIBLE) == visible


def test_where_no_child_was_asked_this_process_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Once, and a child that is asked later is not needed."""
    called = stand_in(monkeypatch, tmp_path / "calls", CARDS[:1])
    assert list_cuda_devices() == (Device("Card A", "0"),)
    assert called() == {os.getpid()}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ask_early()
    assert list_cuda_devices() == (Device("Card A", "0"),)
    assert not cannot_run("cuda")


def test_a_driver_that_kills_who_asks_kills_a_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And there are no devices."""
    stand_in(monkeypatch, tmp_path / "calls", CARDS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: os.kill(os.getpid(), signal.SIGKILL))
    ask_early()
    assert list_cuda_devices() == ()
    assert cannot_run("cuda") == "no CUDA device"


@pytest.mark.parametrize("touched", [True, False])
def test_a_process_that_has_called_cuda_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, touched: bool
) -> None:
    """By what torch says in a fork of it; nowhere else may that be asked. Such a process looks for itself."""
    called = stand_in(monkeypatch, tmp_path / "calls", CARDS)
    here = os.getpid()
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: os.getpid() != here and touched)
    assert has_touched_cuda() is touched
    ask_early()
    assert len(list_cuda_devices()) == len(CARDS)
    assert (called() == {here}) is touched


def test_a_report_says_how_many_devices_and_which(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where there are several; of one the name is enough."""
    assert describe_devices(()) == "CPU only"
    assert describe_devices((Device("Card A", "GPU-c0"),)) == "Card A"
    stand_in(monkeypatch, tmp_path / "calls", CARDS)
    assert recorded_flags()["device"] == "1 x Card A (0) and 2 x Card B (1, 2)"


def test_an_error_that_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line. A processor is never lost."""

    def fails() -> None:
        raise RuntimeError("CUDA error: misaligned address\nCompile with ...")

    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert tell_lost("cuda") == "RuntimeError: CUDA error: misaligned address"
    assert not tell_lost("cpu")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert not tell_lost("cuda")
