"""docs/reference.md, from the code: ``python -m tests.quality.reference`` writes it anew; a test keeps it true."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, Field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from properties.generate import large, options, sizes, uniform
from properties.shrink.halve import MOST_LOOKS
from tests.house import attribute_docs
from verification.adapter import Batch, BatchedAdapter, DenseAdapter, PagedAdapter, Weaker
from verification.backends.contract import Contract
from verification.oracle.precision import Precision
from verification.problem import Numbers, Problem, Scoring, Special
from verification.problem.formats import DTYPES, FORMATS
from verification.problem.labels import FEATURES
from verification.problem.labels_behind import BEHIND
from verification.problem.large import TILES
from verification.problem.table import OUTPUTS, TENSORS
from verification.tensors.materialize import Tensors

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
_TOP = """# Reference

Every name that an author of a kernel meets, made from the code by `python -m tests.quality.reference`; a test keeps
this page true. All of it is imported from `verification.adapter`."""
_AXES = """Axes: `T` queries and `T_k` new keys of all sequences together, `H` query heads, `G` kv heads (query head `h`
reads kv head `h // (H / G)`), `D` numbers of a head, `N` blocks of `S` tokens, `B` sequences, `M` columns of the block
tables, `Lq` and `Lk` queries and keys of each sequence of a dense batch.

A tensor may be strided: its last stride may be 2, q, k and v may be head ranges of one tensor, and both caches may
be halves of one `[N, 2, S, G, D]`. So index a cache by block and offset, `k_cache[slot // S, slot % S]`: a flattened
one may be a copy. A contract that takes contiguous tensors alone names `"layout: strided"` and the like in
`undefined`."""
_HOW_MUCH = """Each problem draws one of each; lengths are drawn for each sequence apart. The first of each is what
a failing problem shrinks to. Named lengths are in blocks: `S+1` is one token more than a block. Laws that may hold to
the bit draw normal numbers at least half of the time: sums of ones or zeros are the same in any order. Columns of a
block table that lie behind a window hold ids of pages that are gone three times in four."""
_ADAPTERS = """`--backend` takes one as `module:Class`, with the module in the current folder, or by an entry point.
It is imported in a process of its own, from which name, contract and precision come as plain data. `--trusted`,
`script`, `check_kernel` and the pytest plugin import it in theirs, and nothing protects them from what it does then.

A kernel that has no cache, as a varlen one, is a `PagedAdapter` too: with `phases=("prefill",)` and
`undefined={"cache: own dtype", "cache: float16", "cache: bfloat16"}`. One whose cache has another layout converts ours,
runs, and copies what it stored back into `t.k_cache` and `t.v_cache`."""
_PROMISING = """`promising(*dtypes, **fields)` is the least: a `Contract` whose `refuses`, `range_events` and
`nonfinite` are False unless they are given.

`nonfinite=False` speaks of values that a query reads. Memory that it must not read (hidden keys, tails of blocks and
unused slots) is filled with NaN all the same: a kernel that gives those values a probability of 0 returns NaN, since
0 * NaN is NaN. One that is not meant to withstand this names `"poison around v: nan"` in `undefined`; one that adds
-inf to hidden scores names `"poison around k: nan"` too. One that reads what lies behind a window, and gives it a
probability of 0, names `"behind a window: nan"`."""
_WEAKER = """An adapter may state `documented`, the `Precision` that its library's documentation promises where it is
sharper than `precision`, and `weaker`, a tuple with a line for each declaration that is weaker than it could be:
[contracts.md](contracts.md)."""
_NEVER = """Never drawn today: ratios H/G above 16, a head_dim of 576, values whose dim differs from the keys', and more
than 257 sequences. With 32 heads of 128 a kernel's problem has at most {kernel} keys and an engine's {engine}; contexts
to 32,768 have fewer or smaller heads. `long_contexts_average` asks for 32,768 equal scores."""
_CAPS = """Tiny problems have at most {work:,} elements in the scores `[H, Lq, Lk]` of a sequence, and in its keys for
all heads `[H, Lk, D]`; {longest} tokens a sequence; {block:,} elements a block: thousands of them are tried. With 32
heads of 128 that is a context of {example} tokens. One problem in 43 is as large as real ones, with its sizes from
here:"""
_LARGE = """Lengths lie beside a tile or a multiple of one, a block or a table of 1,025 columns, in one long sequence
among short ones, in equal ones, or in each its own. All sequences together have at most {keys:,} numbers of keys for
all heads and {scores:,} scores; one large problem in 16 is an engine's, with at most {engine_keys:,} and
{engine_scores:,}. A large problem that breaks a law is made small in at most {looks} looks: each size is tried at its
smallest first."""


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def fields_of(cls: Any) -> str:
    """Return the fields of a dataclass: name, type, default, meaning."""
    docs = attribute_docs(cls)
    rows = [(f"`{f.name}`", f"`{f.type}`", _default(f), docs[f.name]) for f in fields(cls)]
    return table(("field", "type", "default", "meaning"), rows)


def _default(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return f"`{field.default!r}`" if not isinstance(field.default, Scoring) else "`Scoring()`"
    return "required" if field.default_factory is MISSING else "empty"


def properties_of(cls: Any) -> str:
    """Return the public properties of a class that say what they are."""
    held = {name: x for base in cls.__mro__ for name, x in vars(base).items() if name[0] != "_"}
    wanted = {name: inspect.getdoc(x) for name, x in held.items() if isinstance(x, property | cached_property)}
    rows = [(f"`{name}`", " ".join(doc.split())) for name, doc in sorted(wanted.items()) if doc]
    return table(("property", "what it is"), rows)


def tensors() -> str:
    """Return the table of tensors and that of outputs."""
    formats = {"input": "`problem.dtype`", "cache": "`problem.cache_format`", "index": "`problem.index_dtype`"}
    rows = [
        (
            f"`{row.name}`",
            f"`[{', '.join(row.axes)}]`",
            formats.get(row.format, "bool or `problem.dtype`"),
            row.absent or "never",
            row.meaning,
        )
        for row in TENSORS.values()
    ]
    outputs = [
        (f"`{o.name}`", f"`[{', '.join(o.axes)}]`", formats.get(o.format, o.format), o.meaning)
        for o in OUTPUTS.values()
    ]
    return "\n\n".join(
        [
            table(("tensor", "shape", "dtype", "is None", "meaning"), rows),
            f"`tensors.arena`: {attribute_docs(Tensors)['arena']}",
            'A kernel returns the output `out`, as a bare tensor or as `{"out": ...}`:',
            table(("output", "shape", "dtype", "meaning"), outputs),
        ]
    )


def drawn() -> str:
    """Return what problems are drawn from, and the caps."""
    shown = {
        "heads (H, G)": options.HEADS,
        "head_dim": options.HEAD_DIMS,
        "block size": options.BLOCK_SIZES,
        "new tokens of a sequence": options.LENGTHS,
        "keys of a prefill, beside the queries": options.KEY_LENGTHS,
        "context of a decode, prefix of a chunk": options.CONTEXTS,
        "sequences": sorted({len(batch) for batch in options.BATCHES}),
        "score fill": options.SCORE_FILLS,
        "value fill": options.VALUE_FILLS,
        "layout": options.LAYOUTS,
        "cache layout": options.CACHE_LAYOUTS,
        "poison around k, v": options.POISONS,
        "bad slots": dict.fromkeys(options.BAD_SLOTS),
        "bad blocks": dict.fromkeys(options.BAD_BLOCKS),
        "index dtype": options.INDEX_DTYPES,
    }
    dense = {
        "heads (H, G)": uniform.HEADS,
        "sequences": uniform.BATCHES,
        "queries": uniform.LENGTHS,
        "keys beyond the queries": uniform.MORE_KEYS,
        "settings": [f"{name} {value}" for name, values in uniform.SETTINGS.items() for value in values],
    }
    example = sizes.WORK // (32 * 128)
    caps = _CAPS.format(work=sizes.WORK, longest=sizes.LONGEST, block=sizes.MAX_BLOCK, example=example)
    of_large = {
        "heads (H, G)": large.HEADS,
        "head_dim": large.HEAD_DIMS,
        "block size": dict.fromkeys(large.BLOCK_SIZES),
        "sequences": large.KERNEL.batches,
        "sequences of an engine": large.ENGINE.batches,
        "tiles": TILES,
    }
    limits = _LARGE.format(
        keys=large.KERNEL.work,
        scores=large.KERNEL.scores,
        engine_keys=large.ENGINE.work,
        engine_scores=large.ENGINE.scores,
        looks=MOST_LOOKS,
    )
    longest = {"kernel": large.KERNEL.work // (32 * 128), "engine": large.ENGINE.work // (32 * 128)}
    tiny = [_HOW_MUCH, _options(shown), "Dense batches:", _options(dense), caps]
    return "\n\n".join([*tiny, _options(of_large), limits, _NEVER.format(**longest)])


def _options(shown: dict[str, Any]) -> str:
    return table(("what", "drawn from"), [(name, ", ".join(f"{x}" for x in values)) for name, values in shown.items()])


def adapters() -> str:
    """Return what each kind of adapter has to write."""
    rows = []
    for cls, method in (
        (DenseAdapter, "dense(q, k, v, causal, scale)"),
        (PagedAdapter, "attend(problem, tensors)"),
        (BatchedAdapter, "attend(batch)"),
    ):
        rows.append((f"`{cls.__name__}`", f"`{method}`", " ".join((inspect.getdoc(cls) or "").split())))
    return table(("adapter", "method", "what it is"), rows)


def _formats() -> str:
    """Return the formats that a precision may name."""
    named = ", ".join(f"`{name}`" for name in FORMATS)
    return f'Formats: `"input"`, which is the problem\'s dtype, and {named}.'


def made() -> str:
    """Return the page."""
    sections = {
        "Adapters": f"{adapters()}\n\n{_ADAPTERS}",
        "Tensors": f"{_AXES}\n\n{tensors()}",
        "Batch": fields_of(Batch),
        "Problem": "\n\n".join(
            [
                fields_of(Problem),
                properties_of(Problem),
                "`Scoring`:",
                fields_of(Scoring),
                "`Special`:",
                fields_of(Special),
                "`Numbers`:",
                fields_of(Numbers),
            ]
        ),
        "Contract": f"{_PROMISING}\n\n{fields_of(Contract)}",
        "Labels": 'What `Contract.undefined` may name, as `"feature: label"`:\n\n'
        + table(
            ("feature", "labels"),
            [(name, ", ".join(f"`{label}`" for label in held)) for name, held in (FEATURES | BEHIND).items()],
        ),
        "Precision": "\n\n".join([_formats(), fields_of(Precision)]),
        "Weaker": f"{_WEAKER}\n\n{fields_of(Weaker)}",
        "What is drawn, and how much": drawn(),
    }
    assert set(DTYPES) <= set(FORMATS)
    return "\n\n".join([_TOP, *(f"## {title}\n\n{text}" for title, text in sections.items())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(made())
    sys.stdout.write(f"{PAGE}\n")
