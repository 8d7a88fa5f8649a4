"""Scripts of broken laws, which run without us: calls are recorded while the law is checked, and the script makes the
one again that shows the violation.
"""

from __future__ import annotations

from dataclasses import replace
from inspect import cleandoc

from torch import Tensor

from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.laws.patience import ask_patiently
from properties.run.afresh import call_before, make_afresh, make_calls
from properties.show.crashed import write_crash_script
from verification.backends.dense import Dense, DenseBackend
from verification.backends.observe import listening, to_numpy
from verification.backends.protocol import Backend, Call
from verification.backends.snippet import ScriptError
from verification.catalogue import backend_named
from verification.isolation.isolated import Isolated, end_process
from verification.oracle.judge import Violation, error_ratios
from verification.oracle.violation import Crash, LateWrite
from verification.problem import Problem
from verification.problem.json_io import to_json
from verification.problem.reading import shortened
from verification.records.findings import Finding
from verification.script.case import About, KernelCall, Step
from verification.script.kernel import as_dense, describe_worst, expect_kernel, kernel_snippet
from verification.script.page import kernel_script, script_for
from verification.script.pick import pick_case
from verification.script.trial import failure_of
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation


class Recorder:
    """A listener that keeps all calls on one device, in order, since a script shows one device."""

    def __init__(self, device: str) -> None:
        self.steps: list[Step] = []
        self._device = device
        self._states: list[object] = []

    def about_to_call(self, call: Call, arena: Arena) -> None:
        """Do nothing: a call is kept when it has returned."""

    def called(self, call: Call, observation: Observation) -> None:
        if observation.arena.tensors.arena.device.type != self._device:
            return
        state = getattr(call, "layer", call)  # calls of one layer are several
        if all(state is not earlier for earlier in self._states):
            self._states.append(state)
        layer = next(i for i, earlier in enumerate(self._states, start=1) if earlier is state)
        self.steps.append(Step(layer, observation))


def write_script(broken: Finding | Problem, law: Law | str, backend: Backend) -> str:
    """Return a script whose assert fails for the violation of ``law`` by ``backend``, or that never returns.

    The script has been run. Where ``law`` is empty, it is the finding's own law, or else the first that breaks.

    Raises ScriptError, in one line, where the law holds, the problem is too large, the source of the backend's call is
    not known, or the violation cannot be shown by literal tensors.
    """
    finding = broken if isinstance(broken, Finding) else Finding(broken)
    law = law if isinstance(law, Law) else _choose_law(finding, law, backend)
    if isinstance(backend, Isolated):
        if said := _find_crash(finding.problem, law, backend):
            return write_crash_script(finding.problem, law, backend.source, backend.device, said, backend.crash_after)
        end_process(backend)
        finding = replace(finding, backend=backend.source)
        backend = backend_named(backend.source, backend.device)
    backend = as_dense(backend)
    if isinstance(backend, DenseBackend):
        text = _write_kernel_script(finding, law, backend)
    else:
        recorder = Recorder(backend.device)
        with listening(recorder):
            asked = call_before(finding.before, backend, finding.backend) if finding.before else backend
            before = len(recorder.steps)
            about = _describe(finding, law, backend, _find_violation(finding.problem, law, asked))
        same_bits = law.is_claimed(backend.contract.in_phase(finding.problem.phase))
        case = pick_case(recorder.steps, backend, law.bad_input, same_bits, before)
        text = script_for(case, backend, about)
    if not failure_of(text):
        raise ScriptError(f"{law.name}: the script passes, though the law is broken: what is wrong is not in it")
    return text


def _find_crash(problem: Problem, law: Law, backend: Isolated) -> str:
    """Return the message of the backend's crash under the law, or an empty text where there is none."""
    try:
        law.ask(backend, problem)
    except Crash as crash:
        return str(crash)
    except (Violation, OutsideLaw):
        pass
    return ""


def _choose_law(finding: Finding, name: str, backend: Backend) -> Law:
    """Return the law of this name, the finding's own law, or the first that breaks. Raises ScriptError without one."""
    if wanted := name or finding.law:
        for law in LAWS:
            if law.name == wanted:
                return law
        raise ScriptError(f"law: {shortened(wanted)} (must be the name of a law)")
    for law in LAWS:
        if law.speaks_of(finding.problem, backend.device) and law.breaks(backend, finding.problem):
            return law
    raise ScriptError(f"problem: no law breaks on it for {backend.name} on {backend.device}")


def _find_violation(problem: Problem, law: Law, backend: Backend) -> str:
    """Return the message of the law's violation. Raises ScriptError where there is none."""
    try:
        ask_patiently(law, backend, problem)
    except LateWrite as late:
        raise ScriptError(f"{law.name}: {late} (a script looks once, right after its call)") from None
    except Violation as violation:
        return str(violation)
    except OutsideLaw:
        raise ScriptError(f"{law.name}: says nothing about this problem") from None
    raise ScriptError(f"{law.name}: holds on this problem for {backend.name} on {backend.device}")


def _describe(finding: Finding, law: Law, backend: Backend, message: str) -> About:
    """Return what a script says of itself; a problem with calls before it is replayed with these."""
    given = to_json(finding.problem)
    if finding.before:
        given = Finding(finding.problem, law.name, finding.backend, backend.device, before=finding.before).to_line()
    return About(law.name, cleandoc(law.statement), backend.name, backend.device, message, given)


def _write_kernel_script(finding: Finding, law: Law, backend: DenseBackend) -> str:
    """Return the script of one wrong call of the dense function: the paging around it is not under test.

    The calls of the function for the problems that come before the finding's are made first; where the wrong call is
    right without the law's own earlier calls, these are made too. Raises ScriptError where no call is wrong.
    """
    fresh = as_dense(make_afresh(backend, finding.backend)) if finding.before else backend
    assert isinstance(fresh, DenseBackend)
    calls: list[KernelCall] = []
    recorded = replace(fresh, dense=_recorded(fresh.dense, calls))
    make_calls(finding.before, recorded)
    before = len(calls)
    message = _find_violation(finding.problem, law, recorded)
    roundings = backend.precision.resolve(finding.problem.dtype)
    for i, call in enumerate(calls[before:], start=before):
        expectation = expect_kernel(call, roundings)
        if call.output is None or bool((error_ratios(call.output, expectation) > 1).any()):
            about = _describe(finding, law, backend, describe_worst(call, expectation) or message)
            for made in ((*calls[:before], call), calls[: i + 1]):
                snippet = kernel_snippet(backend, made)
                text = kernel_script(made, expectation, snippet, backend.device, about, "answer")
                if failure_of(text):
                    break
            return text
    raise ScriptError(f"{backend.name}: no call of the kernel is wrong by itself (what is wrong is around it)")


def _recorded(dense: Dense, calls: list[KernelCall]) -> Dense:
    """Return the function, which adds each call of it to ``calls``."""

    def recorded(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        given = (q.clone(), k.clone(), v.clone())
        try:
            output = dense(q, k, v, causal, scale)
        except BaseException:
            calls.append(KernelCall(*given, causal, scale, None))
            raise
        calls.append(KernelCall(*given, causal, scale, to_numpy(output)))
        return output

    return recorded
