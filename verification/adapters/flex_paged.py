"""FlexAttention's own PagedAttention, uncompiled: it converts the block mask, over the problem's block tables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.experimental._paged_attention import PagedAttention
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from verification.adapter import (
    DTYPES,
    PagedAdapter,
    Problem,
    Tensors,
    Weaker,
    flex_eager_lines,
    flex_eager_precision,
    promising,
    slopes,
    uncompiled,
)

# Its documentation has "page table: [batch, logical_block_idx] -> physical_page_idx": pages that it gave out itself,
# all present, for at least one token. Hidden values are multiplied by 0, as everywhere in FlexAttention, and nothing is
# said of NaN among them.
_NAN, _MANY_BLOCKS = "poison around v: nan", "blocks: > 32767"
_NEVER_GIVEN = (
    "behind a window: bad blocks",
    *("slots: < -1", "slots: too large", "slots: past 32 bits", "slots: twice"),
    *("sequences: 0", "keys: 0", "sequences: no keys between others"),
    *("blocks: -1", "blocks: < -1", "blocks: too large", "blocks: table too short", "blocks: bad and not needed"),
)

_SOURCE = "torch/nn/attention/experimental/_paged_attention.py"
_TABLE = "page table: [batch, logical_block_idx] -> physical_page_idx"


class Paged(PagedAdapter):
    """Decodes and chunked prefills by `PagedAttention`.

    New tokens are stored by `index_put_`, as its own ``assign`` does, which is for equal lengths alone. Padding is left
    out. A block that a sequence lists again is a page of its own: `PagedAttention` knows one place of each page.
    """

    name = "flex/paged, eager"
    contract = promising(
        *DTYPES,
        phases=("decode", "chunked"),
        scoring=frozenset({"scale", "odd_scale", "softcap", "window", "alibi"}),
        undefined=frozenset((*_NEVER_GIVEN, _NAN, _MANY_BLOCKS)),
        blind="undefined",
    )
    precision = flex_eager_precision()
    weaker = (
        *flex_eager_lines(precision),
        Weaker("undefined", _TABLE, _SOURCE, "pages that it gave out itself, for at least one token", _NEVER_GIVEN),
        Weaker("undefined", "", _SOURCE, "its tables are as wide as all pages: too large here", (_MANY_BLOCKS,)),
        Weaker("undefined", "", _SOURCE, "hidden values are multiplied by a weight of 0, and 0 * NaN is NaN", (_NAN,)),
        Weaker("blind", "", _SOURCE, "every sequence has a token"),
        Weaker("scoring", "", "torch.nn.attention.flex_attention.flex_attention", "it has no argument", ("sinks",)),
    )

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        k_cache, v_cache, slots = tensors.held("k_cache", "v_cache", "slot_mapping")
        contexts, tables = tensors.held("context_lens", "block_tables")
        stored = slots >= 0
        place = slots[stored] // problem.block_size, slots[stored] % problem.block_size
        k_cache[place], v_cache[place] = (x[stored].to(k_cache.dtype) for x in (tensors.k, tensors.v))
        if not len(tensors.q):
            return tensors.q
        lengths, longest = torch.tensor(problem.query_lens), max(problem.query_lens)
        q = tensors.q.new_zeros(len(lengths), longest, *tensors.q.shape[1:])
        real = torch.arange(longest) < lengths[:, None]
        q[real] = tensors.q
        tables, listed_again = _part_repeated(problem, tables)
        k, v = (
            torch.cat([cache, cache[listed_again]]).to(q.dtype).flatten(0, 1).transpose(0, 1)[None]
            for cache in (k_cache, v_cache)
        )
        first, rules = contexts - lengths, problem.scoring
        of_heads = torch.from_numpy(slopes(problem.num_heads)).to(torch.promote_types(q.dtype, torch.float32))

        def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
            seen = key <= first[b] + query
            return seen & (key > first[b] + query - rules.window) if rules.window else seen

        def scored(score: Tensor, b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
            capped = rules.softcap * torch.tanh(score / rules.softcap) if rules.softcap else score
            return capped - of_heads[h] * (first[b] + query - key) if rules.alibi else capped

        pages = _make_pages(problem, contexts, tables, problem.num_blocks + len(listed_again))
        size = problem.block_size
        span, sizes = size * -(-max(problem.key_lens) // size), (128, size)
        logical = create_block_mask(sees, len(lengths), None, longest, span, q.device, BLOCK_SIZE=sizes)
        mask = pages.convert_logical_block_mask(logical, kv_len=contexts)
        mod = pages.get_score_mod(scored, contexts) if rules.shapes_rows else None
        with uncompiled():
            out = flex_attention(q.transpose(1, 2), k, v, mod, mask, problem.scale, enable_gqa=True)
        answer: Tensor = out.transpose(1, 2)[real]
        return answer


def _part_repeated(problem: Problem, tables: Tensor) -> tuple[Tensor, list[int]]:
    """Return the tables with a further page for each block that a sequence lists again, and the blocks to be copied."""
    parted, copied = tables.to(torch.int64, copy=True), list[int]()
    for row, length in zip(parted, problem.key_lens, strict=True):
        seen = set[int]()
        for column, block in enumerate(row[: -(-length // problem.block_size)].tolist()):
            if block in seen:
                row[column] = problem.num_blocks + len(copied)
                copied.append(block)
            seen.add(block)
    return parted, copied


def _make_pages(problem: Problem, contexts: Tensor, tables: Tensor, num_pages: int) -> PagedAttention:
    """Return a page table that holds the problem's block tables, as if it had given out these pages itself."""
    pages = PagedAttention(num_pages, problem.block_size, problem.num_sequences, str(tables.device))
    columns = torch.arange(tables.shape[1])
    row, column = torch.where(columns * problem.block_size < contexts[:, None])
    used = tables[row, column]
    pages.page_table[row, column] = used
    pages.physical_to_logical[row, used] = column
    return pages
