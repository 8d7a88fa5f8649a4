"""Page of a script: the literal tensors, the call, the exact answer beside it, and an assert."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from verification.backends.expected import expected_from
from verification.backends.promises import Blind
from verification.backends.protocol import Backend
from verification.backends.snippet import ScriptError, Snippet
from verification.oracle.expectation import Expectation
from verification.oracle.predicted_events import excuse_uncomputed
from verification.problem import Problem
from verification.problem.describe import describe
from verification.problem.misuse import MISUSES
from verification.problem.table import CACHES, TENSORS, TOKENS, given_to
from verification.problem.visibility import has_blind_rows
from verification.script.called import find_snippet
from verification.script.case import KERNEL_RULES, About, Case, KernelCall, spell_rules
from verification.script.embed import embed_package
from verification.script.limits import write_bound, write_events
from verification.script.literals import Literals
from verification.script.text import TEMPLATES, comment, escape
from verification.tensors.materialize import Arena


def script_for(case: Case, backend: Backend, about: About) -> str:
    """Return the script of ``case``.

    Raises ScriptError where the backend does not say how it is called, and where a tensor is too large.
    """
    last = case.steps[-1].arena
    problem = last.inputs.problem
    contract = backend.contract.in_phase(problem.phase)
    dense = contract.dense_batches
    given = _given(problem, dense)
    if any(_given(step.inputs.problem, dense) != given for step in case.steps):
        raise ScriptError("calls: of two kinds (must all be of one phase, with a cache or without)")
    literals, suffixes, lines = Literals(backend.device), _suffixes(case), []
    spoiled = case.kind == "refusal"
    for arena, suffix in suffixes.values():
        written = literals.call(arena, given, suffix, spoiled)
        its_problem = arena.inputs.problem
        lines += ["", _call_comment(its_problem, suffix), *written, *_longest(its_problem, given, suffix)]
    parameters = [*given, *(line.split(" = ")[0] for line in _longest(problem, given, ""))]
    suffix = suffixes[id(last)][1]
    names = {name: f"{name}{suffix}" for name in given}
    after = {name: f"{TENSORS[name].stored_from}_after" for name in CACHES} if case.kind == "answer" else {}
    asked = given if dense else _read_by_exact(problem)
    calls, compared = _calls(case, backend, suffixes, parameters)
    return _page(
        about,
        find_snippet(backend, problem),
        literals,
        kind=case.kind,
        tensors=lines[1:],
        parameters=["layer", *parameters],
        steps=calls,
        compared=compared,
        names=names,
        asked=[after.get(name, names[name]) for name in asked],
        has_cache=problem.num_blocks > 0,
        watched=[names[name] for name in case.watched],
        given=f"given = dict({', '.join(f'{name}={names[name]}' for name in case.watched)})",
        raised=_class_to_catch(case.steps[-1].observation.error),
        rows=list(case.rows),
        other_rows=list(case.other_rows),
        argument=MISUSES[problem.misuse].argument if case.kind == "refusal" else "",
        axes=("token", "head", "dim"),
        exact=_exact(
            problem=problem,
            dense=dense,
            parameters=given,
            bottom_right=problem.causal_alignment == "bottom_right",
            blind=_blind_row(problem, contract.blind),
        ),
        **write_bound(expected_from(backend, last.inputs), literals),
        **write_events(excuse_uncomputed(expected_from(backend, last.inputs).predictions, contract.uncomputed)),
    )


def _given(problem: Problem, dense: bool) -> tuple[str, ...]:
    """Return the parameters of the call; a dense batch needs no lengths."""
    return tuple(name for name in given_to(problem) if not (dense and name.startswith("cu_seqlens")))


def _read_by_exact(problem: Problem) -> tuple[str, ...]:
    """Return the parameters of the script's ``exact``: keys and values come from the caches where those are read."""
    unread = {"key", "value"} if problem.reads_cache else {"cache"}
    return tuple(n for n in given_to(problem) if TENSORS[n].role not in unread and n != "slot_mapping")


def kernel_script(
    calls: Sequence[KernelCall], expectation: Expectation, snippet: Snippet, device: str, about: About, kind: str
) -> str:
    """Return the script of a dense function's plain calls, without the paging around them; the last one is wrong."""
    call, literals, lines = calls[-1], Literals(device), list[str]()
    parameters = (["layer"] if snippet.make else []) + list(TOKENS)
    rules = list(KERNEL_RULES) if spell_rules(calls) == KERNEL_RULES else []
    steps = [f"layer = {snippet.make}"] if snippet.make else []
    for i, made in enumerate(calls, start=1):
        suffix = f"_{i}" if len(calls) > 1 else ""
        lines += ["", f"# {f'Call {i}' if suffix else 'The one call'}: as the kernel was given it."]
        for name, axes in (("q", ("H", "Lq", "D")), ("k", ("H", "Lk", "D")), ("v", ("H", "Lk", "D"))):
            lines += literals.assignment(f"{name}{suffix}", getattr(made, name), axes)
        given = [f"{name}{suffix}" if name in TOKENS else name for name in parameters]
        steps.append(f"call({', '.join([*given, *(repr(getattr(made, name)) for name in rules)])})")
    return _page(
        about,
        snippet,
        literals,
        kind=kind,
        tensors=lines[1:],
        parameters=parameters + rules,
        steps=steps,
        names={name: f"{name}{suffix}" for name in TOKENS},
        asked=[f"{name}{suffix}" for name in TOKENS],
        has_cache=False,
        watched=[],
        raised="Exception" if call.output is None else "",
        axes=("head", "query", "dim"),
        exact=_exact(kernel=True, causal=call.causal, scale=repr(call.scale)),
        **write_bound(expectation, literals),
    )


def _class_to_catch(error: BaseException | None) -> str:
    """Return the class with which a script catches an error; empty where there is none."""
    return "" if error is None else "Exception" if isinstance(error, Exception) else "BaseException"


def _page(about: About, snippet: Snippet, literals: Literals, **parts: Any) -> str:
    tensors = "\n".join(parts.pop("tensors"))
    numbers = f"{tensors} {parts['allowed']} {parts.get('owed')}"
    text = TEMPLATES.get_template("script.py.jinja").render(
        header=_header(about, snippet),
        snippet=snippet,
        library=embed_package(snippet.library) if snippet.library else "",
        restrided=literals.restrided,
        tensors=tensors,
        special=sorted(set(re.findall(r"\b(inf|nan)\b", numbers))),
        **parts,
    )
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _header(about: About, snippet: Snippet) -> str:
    """Return the comment at the top, fixed lines first: a comment in lines 1 and 2 could name the file's encoding."""
    needs = "This file needs numpy and torch alone"
    if snippet.library:
        needs += ": the library under test is at its end"
    elif snippet.make:
        needs = "This file needs numpy, torch and what else it imports"
    beside = []
    if snippet.siblings:
        whose = "it" if len(snippet.siblings) == 1 else "them"
        beside = [comment(f"Beside it must lie {', '.join(snippet.siblings)}: no package has {whose}.")]
    versions = f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}"
    indent = "#     "
    return "\n".join(
        [
            "# A wrong result of an attention kernel, reproduced.",
            f"# {needs}.",
            *beside,
            "#",
            comment(f"What should hold ({about.law}):"),
            comment(about.statement, indent),
            comment(f"What {about.backend} did on {about.device} ({platform.machine()}) with {versions}:"),
            comment(about.message, indent),
            "# The problem, as attention-verification replays it:",
            f"{indent}{escape(about.problem)}",
        ]
    )


def _suffixes(case: Case) -> dict[int, tuple[Arena, str]]:
    """Return each arena and the suffix of its tensors' names, by its id: calls on the same tensors share names."""
    different = {id(step.arena): step.arena for step in case.steps}
    several = len(different) > 1
    return {key: (arena, f"_{i}" if several else "") for i, (key, arena) in enumerate(different.items(), start=1)}


def _call_comment(problem: Problem, suffix: str) -> str:
    which = f"Call {suffix[1:]}" if suffix else "The call"
    return comment(f"{which}: {describe(problem)}".partition("\nscore fill")[0])


def _longest(problem: Problem, given: Sequence[str], suffix: str) -> list[str]:
    """Return the lines of ``max_seqlen_q`` and ``max_seqlen_k``, which go with offsets."""
    lengths = (("q", problem.query_lens), ("k", problem.key_lens)) if "cu_seqlens_k" in given else ()
    return [f"max_seqlen_{name}{suffix} = {max(given, default=0)}" for name, given in lengths]


def _calls(
    case: Case, backend: Backend, suffixes: dict[int, tuple[Arena, str]], parameters: list[str]
) -> tuple[list[str], int]:
    """Return the lines of the calls, each object made before its first call, and the index of the line to compare."""
    lines, compared, layers = [], 0, list(dict.fromkeys(step.layer for step in case.steps))
    owner = find_snippet(backend, case.steps[0].inputs.problem).owner if len(layers) > 1 else ""
    if owner:
        lines.append(f"kernel = {owner}")
    for i, step in enumerate(case.steps):
        layer = f"layer_{layers.index(step.layer) + 1}" if len(layers) > 1 else "layer"
        if all(step.layer != earlier.layer for earlier in case.steps[:i]):
            make = find_snippet(backend, step.inputs.problem).make
            lines.append(f"{layer} = {make.replace(owner, 'kernel', 1) if owner else make}")
        if i == case.compared:
            compared = len(lines)
        suffix = suffixes[id(step.arena)][1]
        lines.append(f"call({', '.join([layer, *(name + suffix for name in parameters)])})")
    return lines, compared


def _blind_row(problem: Problem, blind: Blind) -> str:
    """Return an expression of the row that is owed where a query sees no key: 0 where it may be anything."""
    if blind == "mean" and has_blind_rows(problem):
        raise ScriptError("blind: 'mean' (a script knows zeros and NaN for rows that see nothing)")
    return "np.full(q.shape, np.nan)" if blind == "nan" else "np.zeros(q.shape)"


def _exact(**how: Any) -> str:
    return TEMPLATES.get_template("exact.jinja").render(kernel=how.pop("kernel", False), **how).rstrip()
