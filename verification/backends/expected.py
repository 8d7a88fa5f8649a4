"""The answer that a backend has promised."""

from __future__ import annotations

from verification.backends.protocol import Backend
from verification.oracle.expectation import Expectation, expect
from verification.tensors.inputs import Inputs


def expected_from(backend: Backend, inputs: Inputs) -> Expectation:
    """Return what it has promised to answer in a call of that phase."""
    return expect(inputs, backend.precision, blind=backend.contract.in_phase(inputs.problem.phase).blind)
