"""Law of the number of threads."""

from __future__ import annotations

import torch

from properties.laws.law import Asked, OutsideLaw, law
from properties.laws.pairs import judge_pair
from verification.backends.observe import observe
from verification.backends.protocol import Backend, Wrapped
from verification.isolation.isolated import Isolated
from verification.oracle.judge import Verdict, successful_outputs
from verification.problem import Problem
from verification.tensors.inputs import make_inputs

# Where workers fill all cores a second thread waits for its turn: such a problem takes as long as ten of another law.
_ONE_IN = 8


@law(to_the_bit=True, devices=("cpu",), afresh=True)
def threads_do_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """out(1 thread) = out(2 threads), of torch's in this process."""
    asked: Backend = backend
    while isinstance(asked, Wrapped):
        asked = asked.inner
    if isinstance(asked, Isolated):  # whose threads are its own
        raise OutsideLaw("it runs in a process of its own, whose threads are its own (--trusted asks it in ours)")
    if problem.seed % _ONE_IN:
        raise OutsideLaw(f"one problem in {_ONE_IN} is asked, since a second thread takes so long")
    inputs, before = make_inputs(problem), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        outputs = successful_outputs(observe(backend, inputs))
        torch.set_num_threads(1)
        return judge_pair(backend, inputs, outputs, what="two threads")
    finally:
        torch.set_num_threads(before)
