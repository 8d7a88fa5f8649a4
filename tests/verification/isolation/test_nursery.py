"""Processes of backends begin as who asks for them is, though the nursery that forks them is older."""

from __future__ import annotations

import pytest

from verification.backends.devices import VISIBLE
from verification.isolation.host import Host


def test_a_backend_has_the_device_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the nursery or the backend of another worker has."""
    found = []
    for selector in ("GPU-a", "GPU-b", None):
        monkeypatch.delenv(VISIBLE, raising=False) if selector is None else monkeypatch.setenv(VISIBLE, selector)
        host = Host("tests.verification.on_device:OnDevice", "cpu", 60.0)
        plain = host.open().plain
        host.close()
        found.append(plain["name"] if plain else "")
    assert found == ["on GPU-a", "on GPU-b", "on None"]
