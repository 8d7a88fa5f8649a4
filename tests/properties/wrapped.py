"""attn_core with something changed on the way in or out: a backend that breaks one law and keeps the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.backends.protocol import Call
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.materialize import Tensors

HONEST = AttnCore()
# The contract without its claims to the last bit.
LOOSE = replace(HONEST.contract, bitwise=frozenset())


def _as_it_is(tensors: Tensors, output: Tensor) -> Tensor:  # noqa: ARG001
    return output


@dataclass(frozen=True)
class Wrapped:
    """``after(tensors, output)`` gives the output that is returned; ``around(call)`` replaces the call itself."""

    after: Callable[[Tensors, Tensor], Tensor] = _as_it_is
    around: Callable[[Call], Call] | None = None
    name: str = "wrapped"
    device: str = "cpu"
    contract: Contract = field(default=HONEST.contract, repr=False)
    precision: Precision = field(default=HONEST.precision, repr=False)
    elsewhere: AttnCore | Wrapped = HONEST

    def prepare(self, problem: Problem) -> Call:
        honest = HONEST.prepare(problem)
        inner = self.around(honest) if self.around else honest
        return lambda tensors: self.after(tensors, inner(tensors))

    def on(self, device: str) -> AttnCore | Wrapped:  # noqa: ARG002
        return self.elsewhere


def nudged_where(condition: Callable[[Tensors], bool], **options: object) -> Wrapped:
    """A hundredth off on some calls."""

    def tamper(tensors: Tensors, output: Tensor) -> Tensor:
        return output * 1.01 if condition(tensors) else output

    return Wrapped(tamper, **options)  # type: ignore[arg-type]
