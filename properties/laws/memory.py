"""Laws about what a call may write. Each is one compare of the arena with what it should hold."""

from __future__ import annotations

from properties.laws.law import Asked, Need, OutsideLaw, law
from properties.laws.needs import A_CACHE
from verification.backends.observe import observe, observe_call
from verification.backends.protocol import Backend
from verification.oracle.expectation import expected_memory, store
from verification.oracle.judge import Verdict, Violation, judge_memory, successful_output
from verification.problem import Problem
from verification.problem.misuse import MISUSES
from verification.problem.table import CACHES, INDICES, TOKENS
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import apply_misuse, materialize
from verification.tensors.observation import Observation

REFUSALS = Need("bad input that is refused (refuses)", lambda backend, _: bool(backend.contract.refuses))


@law(needs=(A_CACHE,))
def cache_is_exact(backend: Asked, problem: Problem) -> Verdict:
    """cache'[s] = cast(k[max{n : slot_n = s}]) for every slot named, and cache'[s] = cache[s] bit for bit elsewhere."""
    if not problem.num_blocks:
        raise OutsideLaw("the call has no cache")
    return _judge(_observe(backend, problem), CACHES)


@law()
def guards_stay_intact(backend: Asked, problem: Problem) -> Verdict:
    """No byte outside the tensors handed over changes."""
    return _judge(_observe(backend, problem), ())


@law()
def inputs_stay_unmodified(backend: Asked, problem: Problem) -> Verdict:
    """q, k, v and every index tensor hold after the call what they held before."""
    return _judge(_observe(backend, problem), (*TOKENS, *INDICES))


@law(bad_input=True, needs=(REFUSALS,))
def bad_input_is_refused(backend: Asked, problem: Problem) -> Verdict:
    """A bad argument, of those refused => ValueError or TypeError that names it, and not one byte has changed."""
    misuse = MISUSES.get(problem.misuse)
    if misuse is None:
        raise OutsideLaw("the call is a good one")
    if misuse.argument not in backend.contract.refused:
        raise OutsideLaw(f"the contract does not promise to refuse a bad {misuse.argument} (refuses)")
    arena = apply_misuse(misuse, materialize(make_inputs(problem), backend.device))
    observation = observe_call(backend.prepare(problem), arena)
    error = observation.error
    if error is None:
        raise Violation(f"{problem.misuse}: accepted, and {misuse.argument} should have been refused")
    if not isinstance(error, ValueError | TypeError) or misuse.argument not in str(error):
        raise Violation(f"{problem.misuse}: {type(error).__name__}: {error}; it should name {misuse.argument}")
    for names in ((*CACHES, *TOKENS, *INDICES), ()):
        judge_memory(observation.memory, arena.before, arena.spans, names)
    return Verdict()


def _observe(backend: Backend, problem: Problem) -> Observation:
    observation = observe(backend, make_inputs(problem))
    successful_output(observation)
    return observation


def _judge(observation: Observation, names: tuple[str, ...]) -> Verdict:
    arena = observation.arena
    expected = expected_memory(arena, store(arena.inputs))
    judge_memory(observation.memory, expected, arena.spans, names)
    return Verdict()
