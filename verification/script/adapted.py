"""Snippets of adapters: the class, cut out of its module, and plain stand-ins for the objects that it is handed."""

from __future__ import annotations

import ast
from dataclasses import fields
from types import NoneType

from verification.backends.snippet import Snippet
from verification.problem import Problem
from verification.problem.renamed import OldName
from verification.problem.scoring import Scoring, slopes
from verification.problem.table import TENSORS, given_to
from verification.script.extract import extract_source
from verification.script.names import is_taken

_PLAIN = (bool, int, float, str, NoneType)
_NAMESPACE = "from types import SimpleNamespace"
# The part of `verification.tensors.materialize.Tensors` that an adapter may use.
_TENSORS = '''class Tensors(SimpleNamespace):
    """The tensors of a call; None where a call of its kind has none of that name."""

    {} = None

    def held(self, *names):
        return tuple(getattr(self, name) for name in names)'''.replace(
    "{}", " = ".join(name for name, row in TENSORS.items() if row.absent)
)


def paged_snippet(adapter: type, problem: Problem) -> Snippet:
    """Write down ``attend(problem, tensors)``, with those attributes of ``problem`` that the code may look at.

    Raises ScriptError where the class cannot be cut out.
    """
    found = extract_source([adapter], more_imports=("from functools import partial", _NAMESPACE), taken=is_taken)
    given = ", ".join(f"{name}={name}" for name in given_to(problem))
    return Snippet(
        imports=found.imports,
        call=f"return layer(Tensors({given}))",
        make=f"partial({found.names[adapter.__name__]}().attend, {_stand_in(problem, found.functions)})",
        functions=f"{_TENSORS}\n\n\n{found.functions}",
        owner=f"{found.names[adapter.__name__]}()",
        siblings=found.siblings,
    )


def batched_snippet(adapter: type, batch: type, problem: Problem) -> Snippet:
    """Write down ``attend(batch)`` of a dense batch. Raises ScriptError where the class cannot be cut out."""
    found = extract_source([adapter, batch], taken=is_taken)
    scoring = problem.scoring
    tensors = {name: name if name in given_to(problem) else None for name in ("mask", "sinks")}
    of_heads = f"torch.tensor({slopes(problem.num_heads).tolist()}, device=q.device)" if scoring.alibi else None
    rules = f"{problem.causal_alignment!r}, {problem.scale!r}, {scoring.softcap!r}, {scoring.window!r}"
    call = [
        f"q, k, v = (x.view({problem.num_sequences}, -1, *x.shape[1:]).transpose(1, 2) for x in (q, k, v))",
        f"batch = {found.names[batch.__name__]}(q, k, v, {rules}, {tensors['mask']}, {tensors['sinks']}, {of_heads})",
        "return layer.attend(batch).transpose(1, 2).flatten(0, 1)",
    ]
    return Snippet(
        imports=found.imports,
        call="\n".join(call),
        make=f"{found.names[adapter.__name__]}()",
        functions=found.functions,
        siblings=found.siblings,
    )


def _stand_in(record: Problem | Scoring, source: str) -> str:
    """Return an expression of a stand-in for ``record``.

    It has every attribute of ``record`` that is plain data and whose name is an attribute of anything in ``source``.
    """
    named = {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}
    more = [name for name, what in vars(type(record)).items() if name[0] != "_" and not isinstance(what, OldName)]
    own = dict.fromkeys([f.name for f in fields(record)] + more)
    values = {name: getattr(record, name) for name in own if name in named}
    given = [f"{name}={value!r}" for name, value in values.items() if _is_plain(value)]
    given += [f"{name}={_stand_in(value, source)}" for name, value in values.items() if isinstance(value, Scoring)]
    return f"SimpleNamespace({', '.join(given)})"


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))
