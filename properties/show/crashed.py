"""Scripts of calls that end their process or never return: each call is written down before it is made."""

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

from properties.laws import LAWS
from properties.laws.law import Law
from verification.backends.dense import Dense, DenseBackend
from verification.backends.flags import settle
from verification.backends.observe import listening
from verification.backends.protocol import Backend, Call
from verification.backends.snippet import ScriptError
from verification.catalogue import backend_named
from verification.problem import Problem
from verification.problem.json_io import from_json, to_json
from verification.script.case import About, Case, KernelCall, Step
from verification.script.kernel import as_dense, expect_kernel, kernel_snippet
from verification.script.page import kernel_script, script_for
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation

# Programs of the two processes: one writes the script of each call and makes it, the other runs the last script.
_WRITE = f"""\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from {__name__} import write_each_call
write_each_call(*sys.argv[2:])
"""
_RUN = """\
import json, runpy, sys
sys.path[:] = json.loads(sys.argv[1])
runpy.run_path(sys.argv[2], run_name="__main__")
"""
# Seconds that loading torch and a backend may take before the first call. Generous, since all of it passes only where a
# backend hangs while it is loaded.
_LOADING = 300.0


def write_crash_script(problem: Problem, law: Law, source: str, device: str, said: str, seconds: float) -> str:
    """Return a script of the last call that ``law`` makes of the backend named ``source``, which dies of it or does not
    answer within ``seconds``.

    Raises ScriptError where the backend dies before any call, and where a process that makes that call alone returns.
    """
    with TemporaryDirectory() as folder:
        path, printed = Path(folder) / "script.py", Path(folder) / "printed"
        search = json.dumps(sys.path)
        given = (source, device, law.name, to_json(problem), said, str(path))
        _run([sys.executable, "-c", _WRITE, search, *given], printed, path, seconds)
        if not path.exists():
            raise ScriptError(f"{law.name}: the backend dies before it is called")
        text = path.read_text(encoding="utf-8")
        if _run([sys.executable, "-c", _RUN, search, str(path)], printed, printed, seconds) in (0, 1):
            raise ScriptError(f"{law.name}: the last call, made alone, comes back: what ends the process is not in it")
    return text


def _run(command: list[str], printed: Path, written: Path, seconds: float) -> int:
    """Run a command and return its exit code. It is killed when ``written`` has not changed for so many seconds."""
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
class _Announcer:
    """A listener that writes the script of each call on the backend's device before the call is made."""

    backend: Backend
    about: About
    path: Path

    def about_to_call(self, call: Call, arena: Arena) -> None:  # noqa: ARG002 (every call is announced)
        if arena.tensors.arena.device.type == self.backend.device:
            step = Step(0, Observation({}, arena.before, (), None, arena))
            _write(self.path, script_for(Case("crash", (step,)), self.backend, self.about))

    def called(self, call: Call, observation: Observation) -> None:
        """Do nothing: the script of the next call will replace this one."""


def _announce(backend: DenseBackend, about: About, path: Path) -> DenseBackend:
    """Return a dense backend that writes the script of each call of its function before the call is made."""
    dense: Dense = backend.dense

    def announced(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        call = KernelCall(q, k, v, causal, scale, None)
        answer = expect_kernel(call, backend.precision.resolve(str(q.dtype).removeprefix("torch.")))
        snippet = kernel_snippet(backend, [call])
        _write(path, kernel_script([call], answer, snippet, backend.device, about, kind="crash"))
        return dense(q, k, v, causal, scale)

    return replace(backend, dense=announced)


def _write(path: Path, text: str) -> None:
    """Write a file all at once: a process that is killed meanwhile leaves the old text."""
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").replace(path)


def write_each_call(source: str, device: str, name: str, problem: str, said: str, path: str) -> None:
    """Check a law and write the script of each call before it is made, in a process that may not come back."""
    settle()
    [law] = (law for law in LAWS if law.name == name)
    backend: Backend = backend_named(source, device)
    about = About(name, cleandoc(law.statement), backend.name, device, said, problem)
    backend = as_dense(backend)
    if isinstance(backend, DenseBackend):
        law.breaks(_announce(backend, about, Path(path)), from_json(problem))
    else:
        with listening(_Announcer(backend, about, Path(path))):
            law.breaks(backend, from_json(problem))
