"""Description of a problem in words: a few lines, which are as easy to remember as the problem is small."""

from __future__ import annotations

from verification.problem import Problem
from verification.problem.scoring import PLAIN

# Numbers of a list that are printed before the ellipsis, so that a list of short numbers stays on one line.
_SHOWN = 12
# Sequences that have a line of their own: more than a tiny problem has.
_SEQUENCES = 4


def describe(problem: Problem) -> str:
    """Return a few lines: the sizes, the sequences, the slots of new tokens, and the numbers that the tensors hold."""
    heads = f"{_counted(problem.num_heads, 'head')} over {_counted(problem.num_kv_heads, 'kv head')}"
    lines = [f"{problem.phase} in {problem.dtype}: {heads}, head_dim {problem.head_dim}"]
    lines += [_describe_sequence(problem, i) for i in range(min(_SEQUENCES, problem.num_sequences))]
    if problem.num_sequences > _SEQUENCES:
        queries, keys = problem.query_lens[_SEQUENCES:], problem.key_lens[_SEQUENCES:]
        lines.append(f"{len(keys)} more: {_range(queries, 'query', 'queries')}, {_range(keys, 'key')} each")
    if not problem.query_lens:
        lines.append("no sequences")
    if problem.causal_alignment == "none":
        lines.append("every query sees every key")
    elif problem.phase == "prefill" and problem.query_lens != problem.key_lens:
        lines.append(f"causal alignment {problem.causal_alignment}")
    if problem.scoring != PLAIN:
        changed = {name: value for name, value in vars(problem.scoring).items() if value != getattr(PLAIN, name)}
        lines.append("scoring: " + ", ".join(f"{name} {value}" for name, value in changed.items()))
    if problem.num_blocks:
        cache = f"{_counted(problem.num_blocks, 'block')} of {problem.block_size}"
        narrow = f" in {problem.cache_dtype}" if problem.cache_dtype else ""
        lines.append(f"cache: {cache}{narrow}; new tokens go to slots {_first_few(problem.slot_mapping)}")
    lines.append(f"score fill {problem.score_fill}, value fill {problem.value_fill}, seed {problem.seed}")
    unusual = {
        "layout": problem.layout,
        "cache layout": problem.cache_layout,
        "poison around k, v": "/".join(problem.poison),
        "indices": problem.index_dtype,
        "misuse": problem.misuse,
    }
    usual = {"contiguous", "zero/zero", "int64", ""}
    lines += [f"{name} {value}" for name, value in unusual.items() if value not in usual]
    lines += [f"{n.tensor} = {_first_few(n.values)}" for n in problem.numbers]
    lines += [f"{s.tensor}[{s.row}, {s.head}, {s.dim}] = {s.value}" for s in problem.specials]
    return "\n".join(lines)


def _describe_sequence(problem: Problem, i: int) -> str:
    queries, keys = problem.query_lens[i], problem.key_lens[i]
    if not problem.reads_cache:
        return f"sequence {i}: {_counted(queries, 'query', 'queries')}, {_counted(keys, 'key')}"
    new = f", {queries} of it new" if problem.phase == "chunked" else ""
    return f"sequence {i}: context {keys}{new}, blocks {_first_few(problem.block_tables[i])}"


def _range(numbers: tuple[int, ...], noun: str, plural: str = "") -> str:
    least, most = min(numbers), max(numbers)
    return _counted(most, noun, plural) if least == most else f"{least} to {_counted(most, noun, plural)}"


def _counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _first_few(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return f"[{shown}{', ...' if len(numbers) > _SHOWN else ''}]"
