"""The right answer under the contract and the precision of a backend."""

from __future__ import annotations

from verification.backends.protocol import Backend
from verification.oracle.expectation import Expectation, choose_device, expect
from verification.tensors.inputs import Inputs


def expected_from(backend: Backend, inputs: Inputs) -> Expectation:
    """Return the expectation of a call, with the backend's precision and its promise about rows that see nothing."""
    problem = inputs.problem
    blind = backend.contract.in_phase(problem.phase).blind
    return expect(inputs, backend.precision, choose_device(problem, backend.device), blind)
