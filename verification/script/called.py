"""Snippets of all backends: the way in which each is called in a script."""

from __future__ import annotations

from verification.adapter import Batch, BatchedAdapter, PagedAdapter
from verification.backends.protocol import Backend
from verification.backends.snippet import Scripted, ScriptError, Snippet
from verification.problem import Problem
from verification.script.adapted import batched_snippet, paged_snippet


def find_snippet(backend: Backend, problem: Problem) -> Snippet:
    """Return the backend's own snippet, or the one of an adapter's class. Raises ScriptError where there is neither."""
    if isinstance(backend, Scripted):
        return backend.snippet(problem)
    if isinstance(backend, PagedAdapter):
        return paged_snippet(type(backend), problem)
    if isinstance(backend, BatchedAdapter):
        return batched_snippet(type(backend), Batch, problem)
    kind = type(backend).__name__
    raise ScriptError(f"{kind}: says not how it is called (it must have snippet(problem) -> Snippet)")
