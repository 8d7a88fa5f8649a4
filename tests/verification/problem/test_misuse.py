"""Each misuse spoils one argument, and only that one, in a call that is right without it."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from tests.verification.samples import DECODE, PREFILL
from verification.backends.attn_core import AttnCore
from verification.backends.observe import observe, observe_call
from verification.problem.misuse import MISUSES
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Arena, Tensors, apply_misuse, materialize

EVERY = pytest.mark.parametrize("name", MISUSES)


def victim(name: str) -> Arena:
    """A valid call that this misuse applies to."""
    misuse = MISUSES[name]
    problem = DECODE if misuse.phase == "decode" else PREFILL
    problem = replace(problem, misuse=name, on_invalid="raise" if misuse.raises else "drop")
    assert misuse.applies(problem.phase, True, True, problem.on_invalid)
    return materialize(make_inputs(problem), "cpu")


@EVERY
def test_one_argument_is_spoilt(name: str) -> None:
    """A tensor of the call, by its own name; the arena stays as it is."""
    before = victim(name)
    after = apply_misuse(MISUSES[name], before)
    changed = {f.name for f in fields(Tensors) if getattr(after.tensors, f.name) is not getattr(before.tensors, f.name)}
    assert changed == {MISUSES[name].argument}
    assert torch.equal(after.tensors.arena, torch.from_numpy(before.before))


@EVERY
def test_the_layer_takes_the_call_without_it_and_refuses_it_with(name: str) -> None:
    """With an error that names the argument."""
    arena = victim(name)
    problem = arena.inputs.problem
    assert observe(AttnCore(), arena.inputs).error is None
    observation = observe_call(AttnCore().prepare(problem), apply_misuse(MISUSES[name], arena))
    assert isinstance(observation.error, ValueError | TypeError)
    assert MISUSES[name].argument in str(observation.error)


@EVERY
def test_where_it_applies(name: str) -> None:
    """Its phase, a token to spoil, a cache where it needs one, and the policy that makes it bad input."""
    misuse = MISUSES[name]
    phase = misuse.phase or "prefill"
    assert misuse.applies(phase, True, True, "raise")
    assert not misuse.applies(phase, False, True, "raise")
    assert misuse.applies(phase, True, False, "raise") is not misuse.needs_cache
    assert misuse.applies(phase, True, True, "drop") is not misuse.raises
    for other in ("prefill", "decode"):
        assert misuse.applies(other, True, True, "raise") is (misuse.phase in ("", other))


def test_every_argument_of_a_call_is_spoilt_somehow() -> None:
    """None is left to trust, but for what only dense kernels are given."""
    arguments = {f.name for f in fields(Tensors)} - {"arena", "mask", "sinks"}
    assert {misuse.argument for misuse in MISUSES.values()} == arguments
