"""The right answer of a backend: its precision, its promise about blind rows, and where the reference runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verification.oracle.large import decode
from verification.adapters.written import Written
from verification.backends import expected
from verification.backends.expected import expected_from
from verification.oracle.expectation import expect
from verification.oracle.precision import Precision
from verification.tensors.inputs import Inputs, make_inputs


def test_the_reference_runs_where_the_backend_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """For large problems; the rest is NumPy's."""
    asked = []

    def watched(inputs: Inputs, precision: Precision, device: str | None, blind: str) -> object:
        asked.append((device, blind))
        return expect(inputs, precision, None, blind)

    monkeypatch.setattr(expected, "expect", watched)
    large = decode((32, 8), 128, 16, (15, 300))
    for device in ("cpu", "cuda"):
        backend = Written()
        vars(backend).update(device=device)
        for problem in (large, replace(large, seed=0)):
            expected_from(backend, make_inputs(problem))
    assert asked == [(None, "nan"), (None, "nan"), ("cuda", "nan"), (None, "nan")]
