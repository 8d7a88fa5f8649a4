"""A call from which a process does not come back, as a script: each is written down before it is made."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from properties.law import Law
from properties.laws import LAWS
from verification.adapter import DenseAdapter
from verification.backends.dense import Dense, DenseBackend
from verification.backends.flags import settle
from verification.backends.protocol import Backend, Call, Wrapped
from verification.backends.snippet import ScriptError
from verification.catalogue import backend_named
from verification.problem import Problem
from verification.problem.json_io import from_json, to_json
from verification.script.case import About, Case, KernelCall, Step
from verification.script.kernel import expected, kernel_snippet
from verification.script.page import kernel_script, script_for
from verification.tensors.materialize import Tensors
from verification.tensors.observation import Observation

_WRITE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from properties.show.crashed import write_each
write_each(*sys.argv[2:])
"""
_RUN = """\
import json, runpy, sys
sys.path[:] = json.loads(sys.argv[1])
runpy.run_path(sys.argv[2], run_name="__main__")
"""
# Seconds that loading torch and a backend may take.
_LOADING = 300.0


def crash_script(problem: Problem, law: Law, source: str, device: str, said: str, seconds: float) -> str:
    """The last call that ``law`` makes of the backend ``source``, which dies of it or does not answer in ``seconds``.
    Raises ScriptError where a process that makes that call alone comes back.
    """
    with TemporaryDirectory() as folder:
        path, printed = Path(folder) / "script.py", Path(folder) / "printed"
        search = json.dumps(sys.path)
        given = (source, device, law.name, to_json(problem), said, str(path))
        _ended([sys.executable, "-c", _WRITE, search, *given], printed, path, seconds)
        if not path.exists():
            raise ScriptError(f"{law.name}: the backend dies before it is called")
        text = path.read_text(encoding="utf-8")
        if _ended([sys.executable, "-c", _RUN, search, str(path)], printed, printed, seconds) in (0, 1):
            raise ScriptError(f"{law.name}: the last call, made alone, comes back: what ends the process is not in it")
    return text


def _ended(command: list[str], printed: Path, written: Path, seconds: float) -> int:
    """Its exit code; that of a kill where it was silent for so many seconds since it last wrote to ``written``."""
    with (
        printed.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL) as process,
    ):
        until = time.time() + _LOADING
        while process.poll() is None:
            if written.exists() and written.stat().st_size:
                until = written.stat().st_mtime + seconds
            if time.time() > until:
                process.kill()
            time.sleep(0.05)
        return process.returncode


@dataclass(frozen=True)
class _Announced(Wrapped):
    """A backend whose every call is a script before it is made."""

    about: About
    path: Path

    def prepare(self, problem: Problem) -> Call:
        call = self.inner.prepare(problem)

        def announced(tensors: Tensors) -> Tensor:
            step = Step(0, Observation(tensors, None, tensors.before, (), None))
            _write(self.path, script_for(Case("crash", (step,)), self.inner, self.about))
            return call(tensors)

        return announced


def _announced(backend: DenseBackend, about: About, path: Path) -> DenseBackend:
    """The same of a dense function."""
    dense: Dense = backend.dense

    def announced(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        call = KernelCall(q, k, v, causal, scale, None)
        answer = expected(call, backend.precision.resolve(str(q.dtype).removeprefix("torch.")))
        snippet = kernel_snippet(backend, causal, scale)
        _write(path, kernel_script(call, answer, snippet, backend.device, about, kind="crash"))
        return dense(q, k, v, causal, scale)

    return replace(backend, dense=announced)


def _write(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").replace(path)


def write_each(source: str, device: str, name: str, problem: str, said: str, path: str) -> None:
    """In a process of its own, which may not come back."""
    settle()
    [law] = (law for law in LAWS if law.name == name)
    backend: Backend = backend_named(source, device)
    about = About(name, cleandoc(law.statement), backend.name, device, said, problem)
    backend = backend.as_backend() if isinstance(backend, DenseAdapter) else backend
    if isinstance(backend, DenseBackend):
        backend = _announced(backend, about, Path(path))
    else:
        backend = _Announced(backend, about, Path(path))
    law.breaks(backend, from_json(problem))
