"""The smallest error that each rule sees: a relative error e in one place of an otherwise honest attention.

The problems are those that the other rules were made for: normal q, k and v, no edges, scores of a few units to a few
dozen, as trained models have them. A rule sees an error on a problem if it rejects the wrong output and accepts the
honest one, so that a false alarm is never counted as sight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.power.rules import RULES
from verification.backends.dense import DenseBackend, dense_contract
from verification.backends.observe import observe
from verification.oracle.expectation import expect
from verification.oracle.judge import successful_output
from verification.oracle.precision import INPUT, Precision
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.tensors.inputs import Inputs, make_inputs

# What an honest implementation rounds: attn_core the output alone, flash kernels the weights as well.
PROFILES = {"attn_core": Precision(), "flash": Precision(probabilities=INPUT)}
# Where the error is.
PLACES = ("scale", "one weight", "one key", "output")
# Formats that models compute in.
DTYPES = ("float16", "bfloat16", "float32")
# Numbers of keys, and head_dims: few keys and many.
SIZES = ((16, 16), (16, 64), (64, 64), (256, 64))
# From 1 down to 2^-26, below the rounding of float32, in half octaves.
ERRORS = tuple(2.0 ** (-i / 2) for i in range(53))


@dataclass(frozen=True)
class Sight:
    """The errors in one place that each rule sees."""

    profile: str
    """Name of the profile in `PROFILES`."""
    dtype: str
    """Format of the problems."""
    place: str
    """Entry of `PLACES` that has the error."""
    problems: int
    """Number of problems that were tried."""
    smallest: dict[str, float | None]
    """By rule: the least error seen on any problem; None if none was seen."""
    share: dict[str, list[float]]
    """By rule: the share of the problems on which each of `ERRORS` is seen."""
    alarms: dict[str, int]
    """By rule: the number of honest outputs that were rejected."""


def make_attention(place: str, error: float, profile: str) -> Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]:
    """Return a dense attention in float32 with a relative ``error`` in one place; it is honest if ``error`` is 0.

    It rounds once, at the end, and under "flash" the weights as well.
    """

    def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        wide_q, wide_k, wide_v = (x.to(torch.float32, copy=True) for x in (q, k, v))
        middle = k.shape[1] // 2
        if place == "one key":
            wide_k[:, middle] *= 1 + error
        scores = wide_q @ wide_k.mT * (scale * (1 + error if place == "scale" else 1.0))
        if causal:
            scores += torch.full(scores.shape[-2:], -torch.inf).triu(diagonal=1)
        weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
        total = weights.sum(dim=-1, keepdim=True)
        if place == "one weight":
            weights[..., middle] *= 1 + error
        if profile == "flash":
            weights = weights.to(q.dtype).float()
        return (weights @ wide_v / total * (1 + error if place == "output" else 1.0)).to(q.dtype)

    return attend


def make_normal_inputs(dtype: str, seed: int) -> Inputs:
    """Return a prefill of one sequence; the seed picks one of four sizes and scores of a deviation of 1, 2, 4 or 8."""
    keys, head_dim = SIZES[seed % len(SIZES)]
    problem = Problem(
        phase="prefill",
        dtype=dtype,
        num_heads=4,
        num_kv_heads=2,
        head_dim=head_dim,
        query_lens=(16,),
        key_lens=(keys,),
        causal_alignment="bottom_right",
        score_fill="normal",
        value_fill="normal",
        seed=seed,
    )
    inputs = make_inputs(problem)
    return replace(inputs, q=inputs.q * inputs.q.dtype.type(2 ** (seed // len(SIZES) % 4)))


def measure_sight(profile: str, dtype: str, place: str, base_seed: int, problems: int) -> Sight:
    """Try every error on every problem, under every rule."""
    seen = {rule: [0] * len(ERRORS) for rule in RULES}
    alarms = dict.fromkeys(RULES, 0)
    for seed in range(base_seed, base_seed + problems):
        inputs = make_normal_inputs(dtype, seed)
        expectation = expect(inputs, PROFILES[profile])

        def accepted(error: float) -> dict[str, bool]:
            contract = dense_contract(tuple(FORMATS))
            backend = DenseBackend("planted", make_attention(place, error, profile), contract)
            output = successful_output(observe(backend, inputs))  # noqa: B023 (called at once)
            return {name: rule(output, expectation, inputs.problem) for name, rule in RULES.items()}  # noqa: B023

        honest = accepted(0.0)
        for name in RULES:
            alarms[name] += not honest[name]
        for i, error in enumerate(ERRORS):
            for name, fine in accepted(error).items():
                seen[name][i] += honest[name] and not fine
    share = {name: [count / problems for count in counts] for name, counts in seen.items()}
    smallest = {name: min((e for e, s in zip(ERRORS, share[name], strict=True) if s), default=None) for name in RULES}
    return Sight(profile, dtype, place, problems, smallest, share, alarms)
