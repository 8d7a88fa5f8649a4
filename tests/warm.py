"""Commands as a person runs them, in a process each, without the four seconds that loading torch takes.

One process for all tests of a worker has loaded what the commands import, and has called nothing. It forks for each
command; the child takes the folder, the environment and the arguments of the command and then runs its module as
``python -m`` does.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOADED = (
    "properties.commands.errors",
    "properties.commands.fuzz",
    "properties.commands.report",
    "verification.backends.captured",
    "verification.backends.kernels",
    "verification.faults",
    "matplotlib.figure",
)


def run(
    module: str, *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Return what ``python -m module arguments`` prints and ends with, run in ``cwd`` with ``env`` alone."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        asked = [
            module,
            arguments,
            str(cwd or Path.cwd()),
            dict(os.environ if env is None else env),
            str(out),
            str(err),
        ]
        server.stdin.write(f"{json.dumps(asked)}\n")
        server.stdin.flush()
        code = json.loads(server.stdout.readline())
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


@cache
def _server() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    environment = {**os.environ, "ATTN_CHECK_SHAPES": "0"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm"], cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True
    )
    atexit.register(server.communicate)  # closes its input, at which it ends
    return server


def _serve() -> list[str] | None:
    """Fork for each line of standard input. Return the module and the arguments in a child, None at the end."""
    for line in sys.stdin:
        module, arguments, cwd, env, out, err = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(cwd, env, out, err)
            return [module, *arguments]
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def _become(cwd: str, env: dict[str, str], out: str, err: str) -> None:
    """Give this process what a new one gets from outside."""
    os.setsid()
    for descriptor, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    first = [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*first, *(path for path in sys.path if path not in first)]


if __name__ == "__main__":
    for name in LOADED:
        __import__(name)
    command = _serve()
    if command is not None:
        sys.argv = command
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
