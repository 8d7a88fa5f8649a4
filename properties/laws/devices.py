"""Law of two devices."""

from __future__ import annotations

from properties.laws.law import Asked, Need, law
from properties.laws.pairs import judge_differences
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend, NotPortable
from verification.oracle.judge import Verdict, Violation, successful_outputs
from verification.oracle.predicted_events import excuse_uncomputed
from verification.problem import Problem
from verification.tensors.inputs import make_inputs


def _is_on_cpu(backend: Backend, _: str) -> bool:
    """Return whether the same implementation runs on a processor."""
    try:
        backend.on("cpu")
    except NotPortable:
        return False
    return True


ON_CPU = Need("the same implementation on cpu", _is_on_cpu)


@law(devices=("cuda",), needs=(ON_CPU,))
def devices_agree(backend: Asked, problem: Problem) -> Verdict:
    """|out(device) - out(cpu)| <= bound + bound', and both log the same events, those within rounding of 1e4 apart."""
    inputs = make_inputs(problem)
    on_cpu = backend.on("cpu")
    there, here = observe(backend, inputs), observe(on_cpu, inputs)
    expectation = expected_from(backend, inputs)
    found, wanted = successful_outputs(there), successful_outputs(here)
    of_cpu = expected_from(on_cpu, inputs).outputs
    room = {name: of.bound + of_cpu[name].bound for name, of in expectation.outputs.items() if name in found}
    verdict = judge_differences(found, wanted, expectation, room)
    if backend.contract.range_events:
        uncomputed = backend.contract.uncomputed + on_cpu.contract.uncomputed
        predictions = excuse_uncomputed(expectation.predictions, uncomputed)
        open_ = {p.tensor for p in predictions if p.allowed and not p.owed}
        logged, owed = ({(e.tensor, e.dropped) for e in x.events if e.tensor not in open_} for x in (there, here))
        if logged != owed:
            raise Violation(f"events {sorted(logged, key=str)}, and on the CPU {sorted(owed, key=str)}")
    return verdict
