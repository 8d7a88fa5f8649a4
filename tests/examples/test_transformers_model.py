"""Llama and Qwen3 through `attn_core`: the library's tokens, attention within its bound, logits within its reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="transformers is not installed (pip install transformers)")

from transformers import PreTrainedModel

from attn_core import Context
from examples import transformers_model
from examples.paged import Pages
from examples.transformers_attention import attend, generate_greedily
from examples.transformers_model import CONFIGS, DTYPES, FACTOR, STEPS, compare, make_model_and_prompts
from tests.examples.judged import Answer, Judged, edge, exact, own
from verification.backends.attn_core import AttnCore, fast
from verification.oracle.judge import Violation

PRECISIONS = {"eager": AttnCore().precision, "sdpa": fast("sdpa").precision}
EACH = [
    pytest.param(
        name,
        dtype,
        implementation,
        id=f"{name}-{str(dtype).removeprefix('torch.')}-{implementation}",
        marks=pytest.mark.slow if name == "Llama" else (),  # Qwen3 has all that it has, and norms of queries and keys
    )
    for name in CONFIGS
    for dtype in DTYPES
    for implementation in PRECISIONS
]


@cache
def made(name: str) -> tuple[PreTrainedModel, list[Tensor]]:
    return make_model_and_prompts(CONFIGS[name])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """So small a model only loses by more, and most where other tests run beside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def judged(
    name: str, dtype: torch.dtype, implementation: str, answer: Answer = own, forced: Tensor | None = None
) -> tuple[Tensor, Tensor, list[list[float]]]:
    """Tokens, logits in float64, and err/bound of every call of every layer."""
    model, prompts = made(name)
    paged, pages = transformers_model.make_paged_model(model, prompts, dtype, implementation)
    layers = []
    for decoder_layer in paged.model.layers:
        module = decoder_layer.self_attn
        module.paged = Judged(module.paged, PRECISIONS[implementation], answer)
        layers.append(module.paged)
    tokens, logits = generate_greedily(paged, pages, prompts, STEPS, forced)
    return tokens, logits.double(), [layer.scores for layer in layers]


@pytest.mark.parametrize(("name", "dtype", "implementation"), EACH)
def test_tokens_are_the_librarys_and_logits_are_as_near_to_float64(
    name: str, dtype: torch.dtype, implementation: str
) -> None:
    found = compare(*made(name), dtype, implementation)
    assert found.equal == found.tokens == 4 * 65
    assert found.error <= FACTOR * found.their_error
    assert found.clear > 1, "the prompts leave a token to chance: this says nothing about the layer"


@pytest.mark.parametrize(("name", "dtype", "implementation"), EACH)
def test_attention_is_within_its_bound_and_logits_within_its_reach(
    name: str, dtype: torch.dtype, implementation: str
) -> None:
    """The reach: how far logits move where every attention output, in every layer and step, lies at an edge of its
    bound, up or down at random, and not where it should. Root mean squares, since the largest of a few thousand
    bfloat16 logits is a matter of one unit more or less.
    """
    tokens, logits, scores = judged(name, dtype, implementation)
    assert [len(each) for each in scores] == [1 + STEPS] * 2
    assert 0 < max(map(max, scores)) <= 1

    _, at_exact, _ = judged(name, dtype, implementation, exact, tokens)
    _, at_edge, _ = judged(name, dtype, implementation, edge(seed=0), tokens)
    moved, reach = ((x - at_exact).square().mean().sqrt() for x in (logits, at_edge))
    assert moved <= reach


@pytest.mark.slow
def test_the_script_ends_with_0_and_shows_every_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {id(config): name for name, config in CONFIGS.items()}
    monkeypatch.setattr(transformers_model, "make_model_and_prompts", lambda config: made(names[id(config)]))
    assert transformers_model.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines[1:-1]] == [
        [name, dtype, "260", "of", "260"] for name in CONFIGS for dtype in ("float32", "bfloat16")
    ]


def test_an_engine_that_reads_a_neighbours_block_is_seen_in_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail. Two blocks of one sequence may change places: keys carry their positions with them."""
    honest = Pages.decode

    def exchanged(pages: Pages) -> Context:
        context = honest(pages)
        assert context.block_tables is not None
        context.block_tables[:, 0] = context.block_tables[:, 0].roll(1)
        return context

    monkeypatch.setattr(Pages, "decode", exchanged)
    # Some of these blocks are not full yet: what is read there is NaN.
    found = compare(*made("Llama"), torch.float32)
    assert found.equal < found.tokens
    assert not found.holds


def test_a_scale_that_is_slightly_off_is_seen_by_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judged, "forward", _with_a_wrong_scale(Judged.forward))
    with pytest.raises(Violation, match="out of bound"):
        judged("Llama", torch.float32, "sdpa")


def _with_a_wrong_scale(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def wrong(layer: Judged, *tokens: Tensor) -> Tensor:
        layer.layer.scale = 1.0001 * layer.layer.head_dim**-0.5
        return forward(layer, *tokens)

    return wrong


def test_what_the_layer_does_not_do_is_refused() -> None:
    x = torch.ones(1, 2, 3, 4)
    module = torch.nn.Module()
    for options in ({"sliding_window": 8}, {"softcap": 30.0}, {"dropout": 0.1}):
        with pytest.raises(NotImplementedError, match=next(iter(options))):
            attend(module, x, x, x, None, **options)
    with pytest.raises(NotImplementedError, match="attention_mask"):
        attend(module, x, x, x, torch.ones(1, 1, 3, 3))
    two_rows = x.repeat(2, 1, 1, 1)
    with pytest.raises(NotImplementedError, match="2 rows"):
        attend(module, two_rows, two_rows, two_rows, None)
