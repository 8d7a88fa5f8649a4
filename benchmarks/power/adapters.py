"""docs/adapters.md, made from the events of sweeps over released software.

``python -m benchmarks.power.adapters RUN.jsonl ...`` writes the page; with ``--again`` it keeps the tables that are
there, and puts these sweeps beside, in the place of earlier ones of the same backends. A sweep is
`attn-verify fuzz --backend` with one backend, so that no library runs in another's process. A broken cell that no entry
of docs/findings.md explains is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from properties.laws import LAWS
from properties.run.worker import CORPUS
from verification.problem.formats import FORMATS
from verification.records.results import CellResult
from verification.reporting.events import RunStarted
from verification.reporting.lines import read_events
from verification.reporting.matrices import Place
from verification.reporting.summary import Summary

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
TEMPLATE = Path(__file__).with_name("adapters.md.jinja")
# By implementation and dtype: the entry of docs/findings.md that each of its broken cells was seen to be.
EXPLAINED = {
    ("onnxruntime/Attention", "float16"): 1,
    ("onnxruntime/Attention", "float64"): 2,
    ("nested/jagged", "float16"): 3,
    ("nested/jagged", "bfloat16"): 3,
    ("transformers/eager", "float16"): 8,
    **{("torch/sdpa flash, masked", dtype): 12 for dtype in FORMATS},
    **{("vllm/cpu", dtype): 13 for dtype in FORMATS},
    ("openvino/sdpa", "bfloat16"): 19,
}
AGAIN = """## Swept again

On 28 November 2026, after declarations had changed ([documented.md](documented.md)), with fewer problems than above,
and the figures from there beside the new ones; at 10 a cell and less, and `onnxruntime/Attention`, with seed 3. A law
that a contract rules out has no cell any more, so that fewer cells are counted. More of them break, since a problem
that breaks one law is asked of the other laws and dtypes at once. Entries are those of [findings.md](findings.md).

Generators went on meanwhile. The first eleven rows were made at commit 08f1ce2; those from `vllm/cpu` to `flex/paged`
at da174e4 to 2290626, which draw what lies behind a window and normal numbers for laws of bits; those of
`openvino/sdpa`, `openvino/sdpa+f32` and jax under masks at 7ab5d6a, which draws real sizes besides (profiles kernel and
engine), as did those of `torch/varlen_attn` at 3a1ee00, on an H200 with torch 2.11: `fuzz --device cuda --minutes 2.5
--seed 3`, 92,479 verified problems, of which none broke.

- `openvino/sdpa`: one finding, entry 19, told as two calls, on a processor with AMX, which the earlier sweep did not
  have. The same seed without AMX (`ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16`) broke nothing, largest err/bound 0.663; nor
  did, with AMX, a class that declares all the other head sizes, in 2,484 verified problems at 150 a cell, 0.864.
- jax under masks: 59 cells took 770 s on one core, nearly all of which XLA spends on compiling.
- `vllm/cpu`: of what broke two problems are left, both with scores beyond 88.7 times the softcap. In a check of
  `agrees_with_reference` and `finite_stays_finite` (60 problems a cell, slopes, windows and sinks among them) 328 of
  2,779 rows under a softcap were NaN, and each has an exact score beyond 87 times the softcap; once these rows were put
  right, all six cells held.
- `onnxruntime/Attention`: one problem is left, in float64, where the default scale is float32's. No float16 problem
  shows entry 1 at this number; its scripts do.
- `torch/sdpa flash, masked`: three problems are left, all with a scale of 0.
- `nested/jagged`: two are left, a score that float16 does not hold, and scores rounded to bfloat16. A class that
  declares scores and weights in the inputs' dtype and flushed subnormals was asked the same problems of eight laws: 3
  of 16 cells broke, by up to 1.61 bounds, and held once it declared `scaled_query` besides: the query is kept in that
  dtype as well.
- `flex/paged, eager`: a sequence that lists a block again lost keys, in all dtypes. That was our adapter:
  PagedAttention gives out each page once, and knows one place of it. Such a block is a page of its own since;
  the row is of a sweep after that."""
_AGAIN_HEADING = (
    "backend",
    "dtype",
    "tried",
    "verified",
    "largest err/bound",
    "before",
    "broken cells",
    "before",
)
# Order of the page's rows.
_LAWS = [CORPUS, *(law.name for law in LAWS)]
Row = tuple[str, ...]


def tabulate_by_dtype(results: Sequence[CellResult]) -> list[Row]:
    """Return a row for each implementation and dtype.

    Problems outside the contract are not drawn, so only files of the corpus are counted as left out by it.
    """
    rows = []
    for name, dtype in product(dict.fromkeys(r.implementation for r in results), FORMATS):
        place = Place([r for r in results if (r.implementation, r.dtype) == (name, dtype)])
        if not place.ran:
            continue
        left_out = sum(r.outside for r in place.ran if r.law == CORPUS)
        outside = place.problems - place.verified - left_out
        counts = (f"{count:,}" for count in (place.problems, outside, left_out, place.verified))
        entries = ", ".join(sorted({_entry(r) for r in place.results if r.failure}))
        asked = sum(bool(r.problems or r.failure) for r in place.results)  # one may break by another's problem alone
        broken = f"{place.broken} of {asked}: {entries}" if entries else "-"
        rows.append((_name(place.results[0]), dtype, *counts, f"{place.ratio:.3f}", broken))
    return rows


def tabulate_again(summaries: Sequence[Summary], page: str) -> list[Row]:
    """Return a row for each implementation and dtype, beside what `page` says of an earlier sweep; without problems
    that no law speaks of, since a law that a contract rules out had cells then.
    """
    before = {(cells[0], cells[1]): (cells[6], cells[7]) for cells in _read_rows(page) if len(cells) == 8}
    return [
        (name, dtype, _budget(summary.runs[0]), verified, ratio, earlier[0], broken, earlier[1])
        for summary in summaries
        for name, dtype, _, _, _, verified, ratio, broken in tabulate_by_dtype(summary.results)
        for earlier in [before.get((name, dtype), ("not asked", "not asked"))]
    ]


def _budget(run: RunStarted) -> str:
    """Return how much was tried: problems a cell, or minutes in all."""
    return f"{run.examples} a cell" if run.examples else f"{run.minutes:g} minutes"


def _read_rows(page: str) -> list[list[str]]:
    """Return the cells of all rows of tables in a page."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line.startswith("|")
    ]


def tabulate_by_law(results: Sequence[CellResult]) -> list[Row]:
    """Return a row for each law: by implementation, the largest err/bound of its dtypes, and what broke."""
    names = dict.fromkeys(r.implementation for r in results)
    return [
        (f"`{law}`", *(_cell([r for r in results if (r.law, r.implementation) == (law, name)]) for name in names))
        for law in dict.fromkeys(r.law for r in sorted(results, key=lambda r: _LAWS.index(r.law)))
    ]


def _cell(results: Sequence[CellResult]) -> str:
    place = Place(results)
    broken = dict.fromkeys(f"broken ({_entry(r)})" for r in results if r.failure)
    held = [r for r in place.ran if not r.failure]
    if not any(r.verified for r in held):
        return ", ".join(broken) or "says nothing"
    ratio = Place(held).ratio
    return ", ".join([f"{ratio:.3f}" if ratio else "holds", *broken])


def _name(result: CellResult) -> str:
    return f"`{result.implementation}`"


def _entry(result: CellResult) -> str:
    return str(EXPLAINED[result.implementation, result.dtype])


def check(summaries: Sequence[Summary]) -> None:
    """Raise ValueError if something broke that no entry explains, or if a sweep was interrupted or verified nothing."""
    results = [result for summary in summaries for result in summary.results]
    for r in results:
        if r.failure and (r.implementation, r.dtype) not in EXPLAINED:
            raise ValueError(f"{r.cell}: {r.failure} (must be explained in docs/findings.md)")
    for summary in summaries:
        if summary.interrupted or not (summary.endings and summary.verified):
            raise ValueError(f"{summary.totals()} (must be a whole run that verified something)")


def make_page(summaries: Sequence[Summary]) -> str:
    """Return the page. Raises ValueError as `check` does."""
    check(summaries)
    results = [result for summary in summaries for result in summary.results]
    of_backend: dict[str, list[Summary]] = {}
    for summary in summaries:
        of_backend.setdefault(_name(summary.results[0]), []).append(summary)
    runs = [
        (name, runs[0].runs[0].seed, runs[0].runs[0].examples, f"{sum(s.verified for s in runs):,}")
        for name, runs in of_backend.items()
    ]
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(TEMPLATE.read_text())
    return template.render(runs=runs, dtypes=tabulate_by_dtype(results), laws=tabulate_by_law(results))


def put_again(page: str, summaries: Sequence[Summary]) -> str:
    """Return a page with these sweeps beside the ones that it has, which stay where no sweep here is of the same
    backend. Raises ValueError as `check` does.
    """
    check(summaries)
    kept, _, again = page.partition(AGAIN.splitlines()[0])
    kept = kept.rstrip()
    new = tabulate_again(summaries, kept)
    swept = {name for name, *_ in new}
    earlier = [row for row in _read_rows(again)[2:] if row[0] not in swept]
    rows = [_AGAIN_HEADING, ("---",) * len(_AGAIN_HEADING), *earlier, *new]
    return "\n\n".join([kept, AGAIN, "\n".join(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path, nargs="+", help="run.jsonl of each sweep")
    parser.add_argument("--again", action="store_true", help="keep the tables of the page, and put these sweeps beside")
    given = parser.parse_args()
    sweeps = [Summary(read_events(path)) for path in given.events]
    PAGE.write_text(put_again(PAGE.read_text(), sweeps) if given.again else make_page(sweeps))
    sys.stdout.write(f"{PAGE}\n")
