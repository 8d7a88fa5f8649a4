"""Trial of a script: it is run here before it is handed over, to see that it does what it says."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import numpy as np

from verification.backends.captured_events import INDEX_LOG, RANGE_LOG, captured_events
from verification.backends.observe import is_ctrl_c
from verification.backends.snippet import ScriptError


def failure_of(text: str) -> str:
    """Run a script and return what its assert says, empty where it passes. Raises ScriptError if it fails otherwise."""
    with _left_as_it_was(), captured_events(), np.errstate(), redirect_stdout(io.StringIO()):
        try:
            exec(compile(text, "script.py", "exec"), {"__name__": "__main__"})
        except AssertionError as error:
            return str(error) or "assert"
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ScriptError(f"the script itself fails with {said}") from error
    return ""


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Undo what a script may do here: bring modules of its own under names that are in use, and listen to loggers."""
    modules = dict(sys.modules)
    handlers = [(logger, logger.handlers[:]) for logger in map(logging.getLogger, (RANGE_LOG, INDEX_LOG))]
    try:
        yield
    finally:
        for name in set(sys.modules) - set(modules):
            if name.split(".")[0] in ("attn_core", "planted_fault"):
                del sys.modules[name]
        sys.modules.update({name: module for name, module in modules.items() if name.split(".")[0] == "attn_core"})
        for logger, before in handlers:
            logger.handlers[:] = before
