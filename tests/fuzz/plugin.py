"""Options, progress and tables of a fuzz run, as a pytest plugin. Works the same with and without pytest-xdist."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.fuzz.cells import Cell
from verification.findings import read
from verification.flags import settle
from verification.problem import Problem
from verification.results import CellResult
from verification.tables import law_table, matrix_table

DEFAULT_EXAMPLES = 500
_RECORD = "fuzz cell"


@dataclass(frozen=True)
class Budget:
    """How much each cell may try. ``problem`` replaces generation by one problem; ``findings`` keeps what breaks."""

    seed: int
    examples: int
    seconds_per_cell: float | None
    require_cuda: bool
    problem: Problem | None
    findings: Path


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--minutes", type=float, help="time for the whole run, shared evenly by the cells")
    group.addoption("--examples", type=int, help=f"problems a cell (default {DEFAULT_EXAMPLES})")
    group.addoption("--seed", type=int, help="repeat a run; by default every run has a fresh seed, which it prints")
    group.addoption("--dtype", action="append", help="only cells of this dtype; may be repeated")
    group.addoption("--device", action="append", help="only cells of this device; may be repeated")
    group.addoption("--problem", help="a problem as JSON, or a file of one: check it instead of generating")
    group.addoption("--findings", default="findings", help="the folder that keeps what breaks a law (default findings)")
    group.addoption("--require-cuda", action="store_true", help="fail, not skip, where there is no CUDA device")
    group.addoption("--table", choices=("laws", "matrix"), default="laws", help="the table printed at the end")


class FuzzReporter:
    """Listens to finished cells; prints a line for each and the table at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._results: dict[str, CellResult] = {}
        self._errors = 0
        self._ids: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._ids = ids

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._ids = self._ids or [item.nodeid for item in session.items]

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Our own lines are the progress: no letter for a cell."""
        return (report.outcome, "", report.outcome.upper()) if report.when == "call" and _record_of(report) else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = _record_of(report)
        if record is None:
            self._errors += report.failed
        elif report.when == "call":
            result = CellResult(**{**record, "failure": str(report.longrepr) if report.failed else ""})
            self._results[report.nodeid] = result
            if not result.skipped:
                self._print_progress(result)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A run that verified nothing has not passed."""
        if self._results and not any(result.verified for result in self._results.values()):
            session.exitstatus = session.exitstatus or pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self._results:
            return
        results = [self._results[id_] for id_ in self._ids if id_ in self._results]
        groups = dict.fromkeys((r.device, r.implementation) for r in results if not r.skipped)
        if self._config.option.table == "matrix":
            tables = [matrix_table(results, "dtype x device x implementation")]
        else:
            tables = [law_table([r for r in results if (r.device, r.implementation) == g], " ".join(g)) for g in groups]
        console = Console(file=terminalreporter._tw._file, width=max(120, terminalreporter._tw.fullwidth))
        for table in tables:
            console.print(table)
        terminalreporter.write_line(self._totals(results))

    def _totals(self, results: list[CellResult]) -> str:
        """One line, with a digest of the problems: equal where the same ones were tried, on whatever device."""
        tried, outside = (sum(getattr(r, name) for r in results) for name in ("problems", "outside"))
        parts = [f"seed {self._config.option.seed}", f"{tried:,} problems, {outside:,} of them outside their law"]
        for device in dict.fromkeys(r.device for r in results):
            ran = [r for r in results if r.device == device and not r.skipped]
            missing = [r for r in results if r.device == device and r.skipped]
            if ran:
                digest = sum(r.digest for r in ran if r.law != "devices_agree") % 2**64
                parts.append(f"{device}: {len(ran)} cells, digest {digest:016x}")
            if missing:
                parts.append(f"{device}: {len(missing)} cells NOT RUN ({missing[0].skipped})")
        broken = sum(bool(r.failure) and not r.skipped for r in results)
        parts.append(f"{broken} cells BROKEN" if broken else "no violation")
        if self._errors:
            parts.append(f"{self._errors} ERRORS of the harness itself")
        return "; ".join(parts)

    def _print_progress(self, result: CellResult) -> None:
        ran = sum(not r.skipped for r in self._results.values())
        total = str(len(self._ids) - len(self._results) + ran)
        score = f"  err/bound {result.score:.3f}" if result.score else ""
        verdict = "  BROKEN" if result.failure else ""
        terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if ran == 1:
            terminal.write_line(f"seed {self._config.option.seed}")
        terminal.write_line(
            f"[{ran:>{len(total)}}/{total}] {result.law:<34} {result.dtype:<9} {result.device:<5} "
            f"{result.implementation}  {result.problems:>6,} problems{score}  {result.seconds:.1f}s{verdict}"
        )


def configure(config: pytest.Config) -> None:
    if config.option.seed is None:
        config.option.seed = secrets.randbelow(2**32)
    settle()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(FuzzReporter(config), "fuzz-reporter")


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the cells of the devices and dtypes asked for."""
    dtypes, devices = config.option.dtype, config.option.device
    kept, left = [], []
    for item in items:
        cell = cell_of(item)
        wanted = cell is None or (
            (not dtypes or cell.dtype in dtypes) and (not devices or cell.backend.device in devices)
        )
        (kept if wanted else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture(scope="session")
def budget(request: pytest.FixtureRequest) -> Budget:
    option = request.config.option
    seconds = None
    if option.minutes is not None:
        cells = [cell for item in request.session.items if (cell := cell_of(item)) and not cell.cannot_run()]
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        seconds = 60 * option.minutes * workers / max(1, len(cells))
    problem = None
    if option.problem:
        text = option.problem if option.problem.lstrip().startswith("{") else Path(option.problem).read_text()
        problem = read(text).problem
    examples = option.examples or DEFAULT_EXAMPLES
    return Budget(option.seed, examples, seconds, option.require_cuda, problem, Path(option.findings))


@pytest.fixture
def record_cell(request: pytest.FixtureRequest) -> Callable[[CellResult], None]:
    """Hand a result to the reporter, across processes."""

    def record(result: CellResult) -> None:
        request.node.user_properties.append((_RECORD, result.to_dict()))

    return record


def cell_of(item: pytest.Item) -> Cell | None:
    """The cell that a test is for, if it is for one."""
    callspec = getattr(item, "callspec", None)
    cell: Cell | None = callspec.params.get("cell") if callspec else None
    return cell


def _record_of(report: pytest.TestReport) -> dict[str, Any] | None:
    return next((value for name, value in report.user_properties if name == _RECORD), None)
