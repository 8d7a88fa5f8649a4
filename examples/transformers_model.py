"""Llama and Qwen3 of Hugging Face transformers through `attn_core`, beside the library's own sdpa.

    python -m examples.transformers_model

Small models with random weights, four prompts of unequal lengths, a prefill and 64 greedy steps: ours packed, over a
paged cache; the library's padded, by its own `generate`. The tokens must be equal. Our logits must be no further from
those of the same model in float64 than `FACTOR` times the library's.

Where two logits nearly tie, bfloat16 cannot tell which wins, and two right implementations part; random models come to
that every few tokens. So prompts are picked, by the library alone in float32, for the clearest of closest decisions.
"clear" is the smallest margin of a step over twice the largest difference of a logit there: above 1, no token was left
to chance.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, PretrainedConfig, PreTrainedModel, Qwen3Config

from examples.paged import Pages
from examples.transformers_attention import NAME, Implementation, generate_greedily, install
from examples.transformers_library import (
    compute_margins,
    convert,
    convert_to_float64,
    generate,
    make_random_model,
    pick_clear_prompts,
    read,
)

# Prompts of unequal lengths, none of which ends with a block of the cache; enough steps to fill several blocks.
LENGTHS, STEPS = (4, 11, 18, 29), 64
# Both sides round, each in its own order: their errors differ by chance, but hardly by a factor of two.
FACTOR = 2.0
# Small enough for a CPU to be done in seconds; 4 query heads share 2 kv heads.
SIZES: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,  # nothing ends early
    "pad_token_id": 0,
}
CONFIGS: dict[str, PretrainedConfig] = {"Llama": LlamaConfig(**SIZES), "Qwen3": Qwen3Config(**SIZES, head_dim=32)}
DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Comparison:
    """The comparison of one model in one dtype."""

    tokens: int
    """Number of tokens."""
    equal: int
    """Number of tokens that are equal."""
    clear: float
    """Smallest margin of a step over twice the largest difference of a logit there; above 1, nothing is chance."""
    error: float
    """Largest error of a logit of ours, against float64."""
    their_error: float
    """Largest error of a logit of the library, against float64."""

    @property
    def holds(self) -> bool:
        """Return True if every token is equal and our logits are near enough to float64's."""
        return self.equal == self.tokens and self.error <= FACTOR * self.their_error


def make_model_and_prompts(config: PretrainedConfig) -> tuple[PreTrainedModel, list[Tensor]]:
    """Return a model in float32, and prompts that it goes on from in clear decisions."""
    model = make_random_model(config, seed=3)  # has such prompts for both models
    return model, pick_clear_prompts(model, LENGTHS, STEPS, candidates=512, distinct=8)


def make_paged_model(
    model: PreTrainedModel, prompts: Sequence[Tensor], dtype: torch.dtype, implementation: Implementation = "sdpa"
) -> tuple[PreTrainedModel, Pages]:
    """Return a copy of the model that asks `attn_core`; its cache has blocks to spare, which nobody writes."""
    block_size = 16
    needed = sum(-(-(len(prompt) + STEPS) // block_size) for prompt in prompts)
    pages = Pages(len(prompts), needed + 3, block_size)  # three blocks to spare
    paged = convert(model, dtype, NAME)
    install(paged, pages, implementation)
    return paged, pages


def compare(
    model: PreTrainedModel, prompts: Sequence[Tensor], dtype: torch.dtype, implementation: Implementation = "sdpa"
) -> Comparison:
    """Compare both implementations in ``dtype``, each with float64 on the tokens that it chose."""
    paged, pages = make_paged_model(model, prompts, dtype, implementation)
    tokens, logits = generate_greedily(paged, pages, prompts, STEPS)
    their_tokens, their_logits = generate(convert(model, dtype), prompts, STEPS)
    model64 = convert_to_float64(model)
    exact, their_exact = read(model64, prompts, tokens), read(model64, prompts, their_tokens)
    differences = (logits - their_logits).abs().amax(dim=-1).double()
    return Comparison(
        tokens=tokens.numel(),
        equal=int((tokens == their_tokens).sum()),
        clear=float((compute_margins(their_logits) / (2 * differences)).nan_to_num(0.0).min()),  # 0 / 0: a tie
        error=float((logits - exact).abs().max()),
        their_error=float((their_logits - their_exact).abs().max()),
    )


def main() -> int:
    """Compare all models and dtypes, print a table and return the exit code."""
    print("model  dtype     equal tokens    clear  error, ours   theirs  seconds")
    torch.set_num_threads(1)  # so small a model only loses by more
    holds = True
    for name, config in CONFIGS.items():
        model, prompts = make_model_and_prompts(config)
        for dtype in DTYPES:
            began = perf_counter()
            found = compare(model, prompts, dtype)
            holds &= found.holds
            print(
                f"{name:6} {str(dtype).removeprefix('torch.'):9} {found.equal:5} of {found.tokens:<4}"
                f" {found.clear:10.3g} {found.error:12.2g} {found.their_error:8.2g} {perf_counter() - began:8.1f}"
            )
    print("every token is equal" if holds else "tokens differ, or our logits are too far from float64's")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
