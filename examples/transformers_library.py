"""The library's side of `transformers_model`: random models in several dtypes, and what the library does with them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel


def make_random_model(config: PretrainedConfig, seed: int = 0) -> PreTrainedModel:
    """Return a float32 model whose weights bfloat16 holds exactly, so that every dtype runs the same model.

    The draws are our own: under the library's initial weights attention is close to a plain mean.
    """
    generator = torch.Generator().manual_seed(seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation="sdpa").eval()
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.dim() == 1:  # a norm's
                weight.uniform_(0.5, 1.5, generator=generator)
            else:
                weight.normal_(0.0, 1.0 if "embed_tokens" in name else 0.1, generator=generator)
            weight.copy_(weight.bfloat16())
    return model


def convert(model: PreTrainedModel, dtype: torch.dtype, attention: str = "sdpa") -> PreTrainedModel:
    """Return a copy of a model in another dtype.

    Only weights are converted: the frequencies of the rotary embedding stay in float32.
    """
    other: PreTrainedModel = AutoModelForCausalLM.from_config(
        copy.deepcopy(model.config), attn_implementation=attention
    ).eval()
    other.load_state_dict(model.state_dict())
    for weight in other.parameters():
        weight.data = weight.data.to(dtype)
    return other


def convert_to_float64(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of a model in float64.

    The library's norms round to float32 whatever they are given, so the copy has norms that do not.
    """
    exact = convert(model, torch.float64)
    for parent in list(exact.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__.endswith("RMSNorm"):
                norm = nn.RMSNorm(child.weight.shape, child.variance_epsilon)
                norm.weight = child.weight
                setattr(parent, name, norm)
    return exact


@torch.inference_mode()
def generate(model: PreTrainedModel, prompts: Sequence[Tensor], steps: int) -> tuple[Tensor, Tensor]:
    """Run the library's greedy search on left-padded prompts; return tokens ``[B, 1 + steps]`` and their logits."""
    width = max(map(len, prompts))
    ids = torch.stack([pad(prompt, (width - len(prompt), 0)) for prompt in prompts])
    mask = torch.stack([pad(torch.ones_like(prompt), (width - len(prompt), 0)) for prompt in prompts])
    options = {"max_new_tokens": 1 + steps, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    answer = model.generate(input_ids=ids, attention_mask=mask, **options)
    return answer.sequences[:, width:], torch.stack(answer.logits, dim=1)


@torch.inference_mode()
def read(model: PreTrainedModel, prompts: Sequence[Tensor], tokens: Tensor) -> Tensor:
    """Return the logits by which ``tokens`` would be chosen, each prompt alone: no padding, no cache."""
    rows = []
    for prompt, row in zip(prompts, tokens, strict=True):
        logits = model(input_ids=torch.cat([prompt, row[:-1]])[None], use_cache=False).logits
        rows.append(logits[0, len(prompt) - 1 :])
    return torch.stack(rows)


def compute_margins(logits: Tensor) -> Tensor:
    """Return how far the largest logit is above the next."""
    best, second = logits.topk(2, dim=-1).values.unbind(dim=-1)
    return best - second


def pick_clear_prompts(
    model: PreTrainedModel, lengths: Sequence[int], steps: int, candidates: int, distinct: int
) -> list[Tensor]:
    """Pick for each length, of ``candidates`` random prompts, the one whose closest decision is the clearest.

    A prompt must be one that ``model`` goes on from with at least ``distinct`` different tokens.
    """
    generator, chosen = torch.Generator().manual_seed(0), []
    for length in lengths:
        prompts = torch.randint(1, model.config.vocab_size, (candidates, length), generator=generator)
        tokens, logits = generate(model, list(prompts), steps)
        varied = torch.tensor([len(set(row)) >= distinct for row in tokens.tolist()])
        chosen.append(prompts[compute_margins(logits).amin(dim=1).where(varied, 0.0).argmax()])
    return chosen
