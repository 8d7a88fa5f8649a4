"""`check_kernel`, which asks a kernel the laws. Nothing in here needs pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from inspect import isfunction, signature
from pathlib import Path
from typing import TypeAlias

from hypothesis.errors import Unsatisfiable

from properties.check.checked import Checked, CheckedCell, CheckFailed
from properties.check.message import write_failure
from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.laws.patience import ask_patiently
from properties.run.round import Broken, fuzz
from verification.backends.flags import settled
from verification.backends.protocol import Backend, NotPortable
from verification.catalogue import DEVICES, backend_named, cannot_run, devices_of
from verification.oracle.judge import Violation
from verification.problem import Problem
from verification.problem.formats import DTYPES
from verification.records.findings import load, locate, read
from verification.records.results import State

# Problems for each law in each dtype: most bugs break some law within so many, and a kernel takes seconds to check.
PROBLEMS = 25
# Names of all members of the protocol, by which an object is known to be no backend.
_PARTS = [name for name in vars(Backend) if name[0] != "_"]
Kernel: TypeAlias = Backend | Callable[[], Backend] | str
GivenProblem: TypeAlias = Problem | str | Path


def check_kernel(
    kernel: Kernel,
    *,
    problems: int | GivenProblem | Iterable[GivenProblem] = PROBLEMS,
    laws: str | Iterable[str] | None = None,
    dtypes: str | Iterable[str] | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Checked:
    """Ask a kernel every law that speaks of it, in every dtype of its contract, on its own device.

    ``kernel`` is an adapter, its class, a function that makes one, or a name: ``"module:attribute"``, or one that
    `attn-verify backends` lists. ``laws`` and ``dtypes`` are names, by default all of them. ``problems`` is how many
    are drawn for each law in each dtype, and equal seeds draw equal ones; or it is those to be asked about, each a
    `Problem`, JSON, or the file of a problem or a finding.

    The kernel runs in this process, whose switches of torch and NumPy are put back at the end.

    Raises CheckFailed, an AssertionError, where a law is broken or nothing was verified: all laws are asked, and the
    first that is broken is told whole, on the smallest problem found. Raises ValueError, in one line, for a law, a
    dtype or a device that the kernel cannot be asked, TypeError for what is no kernel, and UnknownBackend for a name
    that nothing has.
    """
    __tracebackhide__ = True
    backend = _open(kernel, device)
    given = None if isinstance(problems, int) else _read(problems)
    cells: list[CheckedCell] = []
    first: tuple[Law, Broken] | None = None
    with settled():
        for law, dtype in _choose(backend, laws, dtypes, given):
            if isinstance(problems, int):
                cell, broken = check_cell(law, backend, dtype, problems, seed, shrink=first is None)
            else:
                cell, broken = _check_given(law, backend, dtype, given or ())
            cells.append(cell)
            first = first or ((law, broken) if broken else None)
    checked = Checked(backend.name, backend.device, tuple(cells))
    if first:
        raise CheckFailed(write_failure(checked, *first, kernel), checked)
    if not checked.verified:
        reasons = [f"{cell.law} in {cell.dtype} {cell.state}: {cell.why}" for cell in cells]
        raise CheckFailed("\n".join([f"nothing was verified of {backend.name} on {backend.device}", *reasons]), checked)
    return checked


def check_cell(
    law: Law, backend: Backend, dtype: str, problems: int, seed: int, *, shrink: bool = True
) -> tuple[CheckedCell, Broken | None]:
    """Try one law on ``problems`` fresh problems. Return the cell, and the problem with its violation where it breaks.

    Raises ValueError for less than one problem.
    """
    if problems < 1:
        raise ValueError(f"problems: {problems} (must be at least 1)")
    if reason := cannot_run(backend.device):
        return CheckedCell(law.name, dtype, State.NOT_RUN, why=reason), None
    try:
        result, broken, _ = fuzz(law, backend, dtype, seed, problems, shrink=shrink)
    except Unsatisfiable:
        return CheckedCell(
            law.name, dtype, State.SAYS_NOTHING, why="no problem was drawn that the contract defines"
        ), None
    if broken:
        return _make_broken_cell(law, dtype, broken), broken
    if not result.verified:
        return CheckedCell(law.name, dtype, State.SAYS_NOTHING, why=result.why), None
    return CheckedCell(law.name, dtype, State.HELD, result.verified, result.ratio), None


def _check_given(
    law: Law, backend: Backend, dtype: str, problems: Sequence[Problem]
) -> tuple[CheckedCell, Broken | None]:
    """Ask one law about those of ``problems`` that both it and the contract speak of.

    Return the cell, and the first problem with its violation where the law breaks.
    """
    if reason := cannot_run(backend.device):
        return CheckedCell(law.name, dtype, State.NOT_RUN, why=reason), None
    ratios = []
    for problem in problems:
        in_contract = problem.dtype == dtype and backend.contract.speaks_of(problem)
        if not in_contract or not law.speaks_of(problem, backend.device):
            continue
        try:
            ratios.append(ask_patiently(law, backend, problem).ratio)
        except OutsideLaw:
            pass
        except Violation as violation:
            broken = Broken(problem, violation)
            return _make_broken_cell(law, dtype, broken), broken
    if not ratios:
        return CheckedCell(law.name, dtype, State.SAYS_NOTHING, why="each of the problems is outside it"), None
    return CheckedCell(law.name, dtype, State.HELD, len(ratios), max(ratios)), None


def _make_broken_cell(law: Law, dtype: str, broken: Broken) -> CheckedCell:
    return CheckedCell(law.name, dtype, State.BROKEN, why=str(broken.violation).splitlines()[0])


def _open(kernel: Kernel, device: str | None) -> Backend:
    """Return the backend on ``device``, or on its own. Raises UnknownBackend, TypeError and ValueError."""
    if device is not None and device not in DEVICES:
        raise ValueError(f"device: {device!r} (must be one of {', '.join(DEVICES)})")
    if isinstance(kernel, str):
        return backend_named(kernel, device or devices_of(kernel)[0])
    makes = isinstance(kernel, type) or (isfunction(kernel) and not signature(kernel).parameters)
    backend: Backend = kernel() if makes else kernel  # type: ignore[operator, assignment]
    if missing := [part for part in _PARTS if not hasattr(backend, part)]:
        raise TypeError(f"kernel: {backend!r} (must be an adapter, its class or its name; has no {', '.join(missing)})")
    try:
        return backend if device in (None, backend.device) else backend.on(str(device))
    except NotPortable as error:
        raise ValueError(str(error)) from None


def _read(problems: GivenProblem | Iterable[GivenProblem]) -> list[Problem]:
    """Return the problems, read where they are JSON or files. Raises ProblemError, a ValueError of one line."""
    if isinstance(problems, Problem):
        return [problems]
    if isinstance(problems, str):
        return [read(problems).problem]
    if isinstance(problems, Path):
        return [load(locate(problems)).problem]
    return [problem for each in problems for problem in _read(each)]


def _choose(
    backend: Backend,
    laws: str | Iterable[str] | None,
    dtypes: str | Iterable[str] | None,
    given: Sequence[Problem] | None,
) -> list[tuple[Law, str]]:
    """Return the pairs of laws and dtypes to try.

    Raises ValueError for a misspelt name, and for a law or dtype that the kernel has no contract for.
    """
    by_name, contract = {law.name: law for law in LAWS}, backend.contract
    speaking = [law.name for law in LAWS if law.asks(backend)]
    promised = [dtype for dtype in contract.dtypes if given is None or any(p.dtype == dtype for p in given)]
    rule = f"must speak of {backend.name} on {backend.device}"
    chosen = speaking if laws is None else _choose_names("laws", laws, list(by_name), speaking, rule)
    rule = f"must be of the contract of {backend.name}: {', '.join(contract.dtypes)}"
    formats = promised if dtypes is None else _choose_names("dtypes", dtypes, list(DTYPES), contract.dtypes, rule)
    return [(by_name[name], dtype) for name in chosen for dtype in formats]


def _choose_names(
    what: str, names: str | Iterable[str], known: Sequence[str], allowed: Sequence[str], rule: str
) -> list[str]:
    """Return the names, each once. Raises ValueError for one that is not ``known``, or by ``rule`` not ``allowed``."""
    names = list(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in names:
        if name not in known:
            raise ValueError(f"{what}: {name!r} (must be one of {', '.join(known)})")
        if name not in allowed:
            raise ValueError(f"{what}: {name!r} ({rule})")
    return names
