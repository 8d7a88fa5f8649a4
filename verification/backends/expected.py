"""The right answer under the contract and the precision of a backend."""

from __future__ import annotations

from verification.backends.protocol import Backend
from verification.oracle.expectation import Expectation, choose_device, expect
from verification.tensors.inputs import Inputs
from verification.tensors.shared import find_asked


def expected_from(backend: Backend, inputs: Inputs) -> Expectation:
    """Return the expectation of a call, with the backend's precision and its promise about rows that see nothing."""
    problem = inputs.problem
    blind = backend.contract.in_phase(problem.phase).blind

    def reference() -> Expectation:
        return expect(inputs, backend.precision, choose_device(problem, backend.device), blind)

    shared = find_asked(backend, inputs)
    return shared.recall("expectation", reference) if shared else reference()
