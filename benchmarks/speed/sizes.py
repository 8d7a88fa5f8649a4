"""The sizes that a run goes through."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import product

from benchmarks.speed.cases import PHASES, Phase, Size

Span = tuple[int, int]
Combination = tuple[int, Span, int]  # sequences, lengths, block size
DTYPES = ("bfloat16", "float16", "float32")

# Decodes of `--full`: every combination.
BATCHES, CONTEXTS, BLOCK_SIZES = (1, 16, 64, 256), ((512, 8192), (32768, 32768)), (16, 64, 256)
# Decodes of a default run on CUDA: one size varies at a time.
SWEEP = (
    *((64, (512, 8192), block_size) for block_size in BLOCK_SIZES),
    *((batch, (512, 8192), 16) for batch in BATCHES if batch != 64),
    *((16, lengths, 16) for lengths in ((512, 2048), (32768, 32768))),
)
# A CPU takes seconds a call, so it has one size a phase.
DEFAULTS: dict[str, dict[Phase, tuple[Combination, ...]]] = {
    "cpu": {"prefill": ((6, (64, 1024), 0),), "decode": ((32, (1024, 2048), 16),)},
    "cuda": {"prefill": tuple((batch, (64, 4096), 0) for batch in (16, 4, 1)), "decode": SWEEP},
}
# Every combination of a phase; a prefill has no block size.
FULL: dict[Phase, tuple[Combination, ...]] = {
    "prefill": tuple(product((1, 4, 16), ((64, 4096), (4096, 4096)), (0,))),
    "decode": tuple(product(BATCHES, CONTEXTS, BLOCK_SIZES)),
}


def list_sizes(options: argparse.Namespace) -> Iterator[Size]:
    """Yield the sizes that were asked for: prefills first, and a dtype at a time.

    An option that was named goes with the defaults of those that were not.
    """
    dtypes = options.dtype or (("float32", "bfloat16") if options.device == "cpu" else ("bfloat16",))
    for phase in PHASES:
        if options.phase in (phase, "both"):
            for dtype, (batch, (low, high), block_size) in product(dtypes, _list_combinations(phase, options)):
                yield Size(phase, batch, low, high, block_size, dtype, options.device)


def _list_combinations(phase: Phase, options: argparse.Namespace) -> tuple[Combination, ...]:
    """Return the combinations of sequences, lengths and block size of a phase."""
    known = FULL[phase] if options.full else DEFAULTS[options.device][phase]
    if not (options.batch or options.contexts or (options.block_size and phase == "decode")):
        return known
    batches, contexts, block_sizes = (
        tuple(dict.fromkeys(each)) if options.full else (each[0],) for each in zip(*known, strict=True)
    )
    if phase == "decode":
        block_sizes = options.block_size or block_sizes
    return tuple(product(options.batch or batches, options.contexts or contexts, block_sizes))
