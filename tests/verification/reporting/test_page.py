"""The page says what there is to say, in its order, and nothing that it quotes is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from itertools import combinations

import pytest

from tests.verification.reporting import samples
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.problem import Special
from verification.problem.labels import LABELS, PAIRED, POSSIBLE, impossible
from verification.records.results import CellResult
from verification.reporting.events import RoundEnded, RunEnded
from verification.reporting.figures import ratio_figure
from verification.reporting.headline import duration, headline
from verification.reporting.page import page
from verification.reporting.pictures import picture
from verification.reporting.summary import Summary
from verification.reporting.triangle import compact, triangle


class Read(HTMLParser):
    """Elements, their attributes, and headings of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def having(self, kind: str) -> int:
        return sum(kind in (attributes.get("class") or "").split() for _, attributes in self.tags)


@pytest.fixture(scope="module")
def text() -> str:
    return page(samples.summary())


def test_everything_is_there_in_order(text: str) -> None:
    headings = [
        "<h1>",
        'id="laws"',
        'id="findings"',
        'id="matrix"',
        'id="ratios"',
        'id="coverage"',
        'id="faults"',
        'id="runs"',
    ]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "<title>3 laws broken</title>" in text


@pytest.mark.parametrize(
    "said",
    [
        (
            '<b class="other">not run</b>, no CUDA device: {agrees_with_reference,visible_nan_appears,cache_is_exact}-'
            "{float16,float32}-cuda-attn_core/eager"
        ),
        "12 cells: 4 held, 2 broken, 0 say nothing, 0 not reached, 6 not run (no CUDA device).",
        "2 min 0 s",
        "2.9.0",
        "attn-verify fuzz --minutes 2",
        "|out - exact| &lt;= bound for every output element;",
        "sequence 0, token 2, head 1, dim 0",
        "2 above; 1 below; mean signed error 0.125",
        "Breaks as well with any other seed, value fill.",
        "It is as if it saw nothing.",
        "attn_core/masks.py:12",
        "attn-verify replay findings/agrees_with_reference-",
        "Not kept as a file: disk full",
        "queries 0 to 15 of 300 shown",
        "pairs tried that could be asked, 3 never",
        "<dt>start-up, of that</dt><dd>8.0 s</dd>",
        "started in 8 s",
        "SURVIVED",
        "org/repo#1",
    ],
)
def test_it_says(text: str, said: str) -> None:
    assert said in text


def test_what_was_not_run_is_no_pass() -> None:
    skipped = CellResult("agrees_with_reference", "float16", "cuda", "x", skipped="no CUDA device")
    text = page(Summary([samples.STARTED, RoundEnded(skipped), RunEnded(1.0, 3)]))
    assert "<title>Nothing was verified</title>" in text
    read = Read(text)
    assert read.having("good") == read.having("held") == 0
    assert read.having("bad") == 1
    assert read.having("not-run") == 2  # law by law, and in the matrix


def test_each_state_has_its_word() -> None:
    """Of a cell, and in the list of what verified nothing, with the reason."""
    text = page(samples.five())
    read = Read(text)
    assert "5 cells: 1 held, 1 broken, 1 says nothing, 1 not reached, 1 not run (no CUDA device)." in text
    kinds = ("held", "broken", "says-nothing", "not-reached", "not-run")
    assert all(read.having(kind) for kind in kinds)
    listed = {
        "says nothing": "the call has no cache; another reason: first-float32-cpu-x",
        "not reached": "the budget ended first: second-float32-cpu-x",
        "not run": "no CUDA device: first-float16-cuda-x",
    }
    for word, said in listed.items():
        assert f'<b class="other">{word}</b>, {said}</li>' in text


def test_nothing_at_all() -> None:
    assert "<title>Nothing was verified</title>" in page(Summary())


@pytest.mark.parametrize(
    ("events", "state", "said"),
    [
        (samples.passed(), "good", "No violation in 960 problems"),
        (samples.summary(), "bad", "3 laws broken"),
        (samples.interrupted(), "idle", "No violation in 480 problems, interrupted"),
        (samples.cut_off(), "idle", "No violation in 480 problems, not ended"),
        (samples.outside(), "bad", "Nothing was verified"),
        (samples.unreached(RunEnded(5.0, 3)), "bad", "3 of 4 cells not reached, no violation in 480 problems"),
        (samples.unreached(RunEnded(5.0, 0)), "idle", "3 of 4 cells not reached, no violation in 480 problems"),
        (samples.unreached(), "idle", "3 of 4 cells not reached, no violation in 480 problems, not ended"),
        (samples.unreached(RunEnded(5.0, 3, error="E: x")), "bad", "The run died after 480 verified problems: E: x"),
        (samples.five(), "bad", "1 law broken"),
        (samples.only_corpus(), "bad", "1 law broken"),
        (samples.bare(), "bad", "1 law broken"),
        (samples.hunted(lives=True), "bad", "1 of 2 planted faults survived"),
        (samples.hunted(lives=False), "good", "2 planted faults hunted, none survived"),
    ],
)
def test_headline(events: Summary, state: str, said: str) -> None:
    found = headline(events)
    assert (found.state, found.text) == (state, said)
    assert f"<h1>{said}</h1>" in page(events)


def test_a_broken_cell_without_a_finding_is_shown() -> None:
    assert "is broken by attn_core/eager on cpu, float16: lost" in page(samples.bare())


def test_runs_are_merged() -> None:
    other = [replace(samples.STARTED, seed=11, command="other"), *samples.events()[1:]]
    merged = page(Summary([*samples.events(), *other]))
    assert "<dd>7</dd><dd>11</dd>" in merged
    assert "4 min 1 s" in merged
    assert merged.count("2026-03-01T12:00:00+00:00") == 2
    assert "<dd>4 held</dd><dd>2 broken</dd><dd>0 says nothing</dd><dd>0 not reached</dd><dd>6 not run</dd>" in merged


def test_texts_are_no_markup(text: str) -> None:
    ours, text = text, page(samples.hostile())
    read = Read(text)
    assert {tag for tag, _ in read.tags} <= {tag for tag, _ in Read(ours).tags}
    assert not any(name.startswith("on") for _, attributes in read.tags for name in attributes)
    assert samples.HOSTILE not in text
    assert text.count("&lt;script&gt;") > 20
    assert samples.HOSTILE in "".join(read.texts)


@pytest.mark.parametrize("of", [samples.summary, samples.hostile])
def test_it_needs_nothing_else(of: object) -> None:
    """No address is in an attribute that a browser would follow, and no script."""
    text = page(of())  # type: ignore[operator]
    for tag, attributes in Read(text).tags:
        assert tag not in ("script", "iframe", "object", "embed", "img")
        for name in ("src", "href", "action", "data", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= set(re.findall(r"url\((#\w+)\)", text))


def test_it_is_the_same_every_time(text: str) -> None:
    assert page(samples.summary()) == text
    assert len(text) < 700_000


def test_every_pair_is_in_the_triangle(text: str) -> None:
    read = Read(text)
    of_legend = 1
    assert read.having("never") == 3 + of_legend
    own = read.having("own") - of_legend
    paired = [i for i, (feature, _) in enumerate(LABELS) if feature in PAIRED]
    assert own == len(paired)
    impossible_ones = sum(bool(impossible(a, b)) for a, b in combinations(paired, 2))
    tried = sum(read.having(f"p{i}") - of_legend for i in range(6))
    assert tried + read.having("not") - of_legend == len(POSSIBLE) - 3 + impossible_ones
    one, other = LABELS[5], LABELS[0]
    assert escape(f"{': '.join(one)} with {': '.join(other)}: never tried") in text


def test_rarest_and_untried() -> None:
    found = triangle(samples.coverage((0, 5)))
    assert (found.never, found.tried) == (1, len(POSSIBLE) - 1)
    assert found.untried == {": ".join(LABELS[0]): [": ".join(LABELS[5])]}
    assert len(found.rarest) == 20
    assert [count for *_, count in found.rarest] == sorted(count for *_, count in found.rarest)


def test_what_contracts_leave_out_is_no_hole() -> None:
    """A pair that no kind of call can have is neither tried nor missing; one that some kind can have is."""
    names = [": ".join(label) for label in LABELS]
    coverage = samples.coverage((0, 5), (9, 40), (30, 60))
    for left_out, never in (((), 3), (((names[0], names[9]),), 1), (((names[0], names[9]), (names[5],)), 2)):
        found = triangle(coverage, left_out)
        assert (found.never, found.left_out) == (never, 3 - never)
        assert found.tried == len(POSSIBLE) - 3
        kinds = [square.kind for rows in found.rows.values() for squares in rows.values() for square in squares]
        assert kinds.count("never") == never
    started = replace(samples.STARTED, left_out=((names[0], names[9]),))
    ended = replace(samples.ENDED, coverage=coverage)
    text = page(Summary([started, ended]))
    assert "pairs tried that could be asked, 1 never</b> (2 more are left out by every contract" in text
    assert "never</b>," in page(Summary([started, samples.STARTED, ended]))  # of one run it is not known


def test_a_law_has_one_verdict_on_top() -> None:
    """Over all dtypes; those that had no turn are named, each finding is there once, and a note once."""
    failed = samples.unreached(RunEnded(5.0, 3, error="E: x"))
    text = page(failed)
    verdict = text[text.index('id="laws"') : text.index('id="matrix"')]
    assert verdict.count("<b>not reached</b>") == 3  # one of two cells, two of two, and all
    assert "1 law had no turn at all: second." in text
    assert text.count("The run died: E: x") == 1
    found = samples.events()
    assert len(Summary([*found, *found]).failures) == len(Summary(found).failures) == 4


@pytest.mark.parametrize(
    ("count", "short"), [(0, "0"), (999, "999"), (1000, "1.0k"), (9949, "9.9k"), (12_345, "12k"), (1_234_567, "1.2M")]
)
def test_counts_are_short(count: int, short: str) -> None:
    assert compact(count) == short


@pytest.mark.parametrize(("seconds", "said"), [(3.14, "3.1 s"), (252, "4 min 12 s"), (3725, "1 h 2 min")])
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_prefill_is_drawn() -> None:
    """Sequence 1 has one query and two keys, of which top-left shows it one; its first token is not stored."""
    failure = samples.failure(replace(PREFILL, specials=(Special("v", 4, 0, 0, "inf"),)))
    assert failure.difference
    first, second = picture(failure.finding.problem, failure.difference.worst).grids
    assert [query.sees for query in first.queries] == [[True, False, False], [True, True, False], [True] * 3]
    assert [query.wrong for query in first.queries] == [False, False, True]
    assert [query.sees for query in second.queries] == [[True, False]]
    assert [(key.slot, key.dropped) for key in second.keys] == [("-1", True), ("2", False)]
    assert [key.planted for key in second.keys] == ["", "v = inf"]


def test_a_decode_is_drawn() -> None:
    """A block outside the cache, a tail, a block that nobody needs, and a table that ends too early."""
    problem = replace(
        DECODE, key_lens=(3, 2), block_tables=((2, 99), (1, -1)), specials=(Special("k_cache", 4, 0, 0, "nan"),)
    )
    first, second = picture(problem, None).contexts
    assert [block.kind for block in first.blocks] == ["read", "invalid"]
    assert [(slot.text, slot.kind, slot.planted) for slot in first.blocks[0].slots] == [
        ("4", "seen", "k_cache = nan"),
        ("5", "seen", ""),
    ]
    assert first.stored == "slot 0, which is block 0 at 0"
    assert [block.kind for block in second.blocks] == ["read", "unused"]
    assert [slot.new for slot in second.blocks[0].slots] == [False, True]
    (short, _) = picture(replace(problem, key_lens=(9, 2)), None).contexts
    assert short.title == "sequence 0: context 9; the table ends 3 blocks too early"


def test_the_tail_of_a_block_is_no_context() -> None:
    problem = replace(DECODE, key_lens=(1, 2), slot_mapping=(4, -1))
    first, second = picture(problem, None).contexts
    assert [(slot.kind, slot.new) for slot in first.blocks[0].slots] == [("seen", True), ("tail", False)]
    assert second.stored == "nowhere: slot -1 is outside the cache"


def test_what_is_large_is_cut_around_what_is_wrong() -> None:
    failure = samples.failure(one_head(queries=300, keys=500))
    assert failure.difference
    worst = replace(failure.difference.worst, at=(("sequence", 0), ("token", 200), ("head", 1), ("dim", 0)))
    (grid,) = picture(failure.finding.problem, worst).grids
    assert [query.index for query in grid.queries if query.wrong] == [200]
    (row,) = (query for query in grid.queries if query.wrong)
    assert True in row.sees
    assert False in row.sees
    assert (len(grid.queries), len(grid.keys)) == (16, 24)
    many = replace(PREFILL, query_lens=(1,) * 9, key_lens=(1,) * 9, num_blocks=0, slot_mapping=())
    assert picture(many, None).cut == "sequences 0 to 5 of 9 shown"


def test_a_figure_takes_its_colours_from_the_page() -> None:
    svg = ratio_figure("float16", [samples.cell("law", "float16").histogram] * 10)
    assert svg.startswith("<svg")
    assert "var(--line-8)" in svg
    assert set(re.findall(r"(?:stroke|fill): (#\w+)", svg)) == set()
    assert "http" not in svg
    ids = re.findall(r' id="([^"]*)"', svg)
    assert len(ids) == len(set(ids))
    assert not set(ids) & set(re.findall(r' id="([^"]*)"', ratio_figure("float32", [(0, 5, 2)])))


def test_figures_of_odd_histograms() -> None:
    """None at all, zeros alone, more bins than there are."""
    assert ratio_figure("x", []).startswith("<svg")
    assert ratio_figure("x", [(), (0,), (1,) * 99]).startswith("<svg")
