"""Law of contexts longer than anybody draws."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from properties.laws.law import Need, OutsideLaw, law
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict, judge_outputs, successful_outputs
from verification.problem import Problem
from verification.tensors.inputs import make_inputs

LONG = 2**15
# Numbers of a head where any will do: what may go wrong on the way along so many keys goes wrong in each.
_HEAD_DIM, _BLOCK_SIZE = 4, 256
# Where the one query of a prefill sees all of its keys.
_SEES_ALL = ("bottom_right", "none")


def _is_long(backend: Backend, _: str) -> bool:
    """Return whether there may be so many keys, and a query that sees them all."""
    contract = backend.contract
    sees_all = set(contract.phases) != {"prefill"} or not set(_SEES_ALL).isdisjoint(contract.alignments)
    return sees_all and not 0 < contract.longest < LONG


LONG_CONTEXTS = Need(f"contexts of {LONG:,} keys, all of them seen", _is_long)


@law(plain=True, needs=(LONG_CONTEXTS,))
def long_contexts_average(backend: Backend, problem: Problem) -> Verdict:
    """q = 0 => |out - the mean of the values of all 32,768 keys| <= bound."""
    inputs = make_inputs(_long(backend, problem))
    return judge_outputs(successful_outputs(observe(backend, inputs)), expected_from(backend, inputs))


def _long(backend: Backend, problem: Problem) -> Problem:
    """Return one query, one head where that may be, and a context of equal scores, in blocks of no order where that may
    be.
    """
    contract = backend.contract
    if not contract.compiled_sizes:
        dim = min(contract.head_dims or (_HEAD_DIM,))
        problem = replace(problem, num_heads=1, num_kv_heads=1, head_dim=dim, block_size=_BLOCK_SIZE)
    plain = replace(
        problem,
        query_lens=(1,),
        key_lens=(LONG,),
        layout="contiguous",
        cache_layout="contiguous",
        score_fill="zeros",
        numbers=(),
        specials=(),
        scoring=replace(problem.scoring, mask="", mask_axes="bhqk", window=0, alibi=False, blind_rows=False),
    )
    if problem.phase == "prefill":
        alignments = [name for name in _SEES_ALL if name in contract.alignments]
        if not alignments:
            raise OutsideLaw("aligned top-left, the one query of a prefill sees one key")
        paging = {"num_blocks": 0, "slot_mapping": (), "block_tables": ()}
        return replace(plain, causal_alignment=alignments[problem.seed % len(alignments)], **paging)  # type: ignore[arg-type]
    count = -(-LONG // plain.block_size)
    table = Random(problem.seed).sample(range(count + 1), count)
    if "blocks: out of order" in contract.undefined:
        table.sort()
    last = table[-1] * plain.block_size + (LONG - 1) % plain.block_size
    return replace(plain, num_blocks=count + 1, slot_mapping=(last,), block_tables=(tuple(table),))
