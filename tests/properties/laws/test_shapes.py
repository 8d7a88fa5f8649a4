"""What remembers the shapes that it met first, and what does not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from torch import Tensor

from properties.laws import LAWS
from properties.laws.law import OutsideLaw
from properties.laws.shapes import other_shapes_do_not_matter
from properties.run.round import fuzz
from tests.properties.wrapped import HONEST
from tests.verification.samples import CHUNKED, DECODE, PREFILL, one_head
from verification.backends.chunks import EAGER
from verification.backends.protocol import Call, Wrapped
from verification.problem import Problem
from verification.problem.validate import check_problem
from verification.tensors.materialize import Tensors

BY_NAME = {law.name: law for law in LAWS}


@dataclass(frozen=True)
class Remembering(Wrapped):
    """Wrong wherever there are more keys than it met first."""

    met: list[int] = field(default_factory=list)

    def prepare(self, problem: Problem) -> Call:
        call = self.inner.prepare(problem)

        def remembering(tensors: Tensors) -> Tensor:
            longest = max(problem.key_lens, default=0)
            if longest:
                self.met.append(longest)
            out = call(tensors)
            return out.zero_() if longest and longest > self.met[0] else out

        return remembering


@pytest.mark.parametrize("problem", [PREFILL, DECODE])
def test_honest(problem: Problem) -> None:
    """To the bit."""
    other_shapes_do_not_matter(HONEST, problem)


def test_a_chunk() -> None:
    """Is cut as well."""
    other_shapes_do_not_matter(EAGER, CHUNKED)


def test_what_is_short_is_outside() -> None:
    """There is nothing to cut."""
    with pytest.raises(OutsideLaw):
        other_shapes_do_not_matter(HONEST, one_head())


def test_what_it_is_asked_with() -> None:
    """Problems all of them, sequences of one token or none."""
    asked: list[Problem] = []

    @dataclass(frozen=True)
    class Listening(Wrapped):
        def prepare(self, problem: Problem) -> Call:
            asked.append(check_problem(problem))
            return self.inner.prepare(problem)

    for problem in (PREFILL, DECODE, CHUNKED):
        other_shapes_do_not_matter(Listening(EAGER if problem is CHUNKED else HONEST), problem)
    short = [problem for problem in asked if max(problem.key_lens) == 1]
    assert [problem.slot_mapping for problem in short[::2]] == [(0, -1), (0, 3), (5, 3)]


def test_memory_is_found() -> None:
    """On two keys, the fewest that differ from one."""
    _, broken, _ = fuzz(BY_NAME["other_shapes_do_not_matter"], Remembering(HONEST), "float32", 1, 50)
    assert broken is not None
    assert max(broken.problem.key_lens) == 2
