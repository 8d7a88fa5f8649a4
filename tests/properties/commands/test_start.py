"""The start of a command loads what its first problem needs, and nothing else that takes long."""

from __future__ import annotations

import ast
import gc
import os
from pathlib import Path

import pytest
import typer

from properties import cli
from tests import warm
from tests.house import ROOT, tree_of
from verification.backends.flags import settle

# Packages of more than a quarter of a second, or of threads and devices that a fork cannot go on with.
LATE = {"attn_core", "matplotlib", "jax", "onnxruntime", "openvino", "transformers", "vllm", "mlx"}
KERNEL = """
import jax, onnxruntime, openvino
from docs.tutorial.my_kernel import MyKernel
"""
# Runs a command as `attn-verify` does, and then tells which modules its process has loaded.
TELLS = """
import sys
from properties.cli import app
try:
    app(sys.argv[1:], prog_name="attn-verify")
finally:
    print("loaded:", *sorted({"jax", "onnxruntime", "openvino", "docs.tutorial.my_kernel"} & set(sys.modules)), "end")
"""


def loaded_with(module: str) -> set[str]:
    """Names of all that is imported with a module of ours: outside of functions, and by what is imported so."""
    found, waiting = {module}, [module]
    while waiting:
        name = waiting.pop()
        path = ROOT / name.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not file.exists():
            continue  # a name in a module, or a module of somebody else
        for node in tree_of(file).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            new = {name for name in names if name not in found}
            found |= new
            waiting += new
    return found


@pytest.mark.parametrize("command", ["fuzz", "probe", "replay", "hunt"])
def test_a_command_loads_late_what_takes_long(command: str) -> None:
    """Our layer and torch's compiler where a backend of ours is asked, figures where they are drawn."""
    found = loaded_with(f"properties.commands.{command}")
    assert "properties.laws.agreement" in found
    assert not LATE & {name.partition(".")[0] for name in found}
    assert {"attn_core", "matplotlib"} <= {
        name.partition(".")[0] for name in loaded_with("verification.faults") | loaded_with("benchmarks.speed.plots")
    }


def test_no_plugin_changes_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis, which loads after this, is told to look for none."""
    seen = []
    monkeypatch.setenv("HYPOTHESIS_NO_PLUGINS", "")
    with pytest.raises(typer.Exit):
        cli.exit_with_code(lambda: seen.append(os.environ["HYPOTHESIS_NO_PLUGINS"]) or 0)()
    assert seen == ["1"]
    assert "hypothesis" not in loaded_with("properties.cli")


def test_garbage_is_looked_for_when_all_is_loaded() -> None:
    """Not before, and again where a command ends before it has settled."""
    seen = []

    def command(settles: bool) -> int:
        seen.append(gc.isenabled())
        if settles:
            settle()
            seen.append(gc.isenabled())
        return 0

    for settles in (True, False):
        with pytest.raises(typer.Exit):
            cli.exit_with_code(command)(settles=settles)
        assert gc.isenabled()
    assert seen == [False, True, False]


def test_a_nursery_is_started_before_torch_is_loaded() -> None:
    """By a command that asks a foreign backend, so that both load it at once."""
    assert "torch" not in loaded_with("verification.isolation.nursery") | loaded_with("properties.cli")


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"backend": ["attn_core/eager", "my_kernel:MyKernel"], "trusted": False}, True),
        ({"backend": "my_kernel:MyKernel"}, True),
        ({"backends": ["mutants:A"], "trusted": True}, False),
        ({"backend": None}, False),
        ({"backend": ["attn_core/eager"]}, False),
        ({"json": True}, False),
    ],
)
def test_only_foreign_backends_need_a_nursery(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], wanted: bool
) -> None:
    """Those that are not asked in a process of ours."""
    started = []
    monkeypatch.setattr("verification.isolation.nursery.start_early", lambda: started.append(True))
    cli._start_nursery(options)
    assert bool(started) is wanted


def test_libraries_of_kernels_are_never_loaded_by_the_session(tmp_path: Path) -> None:
    """JAX and its like start threads, after which no worker can be forked: a backend's own process loads them."""
    (tmp_path / "tells.py").write_text(TELLS)
    (tmp_path / "kernel.py").write_text(KERNEL)
    for library in ("jax", "onnxruntime", "openvino"):
        (tmp_path / f"{library}.py").write_text("")
    cell = ("--examples", "1", "--dtype", "float32", "-k", "agrees_with")
    options = (*cell, "--workers", "1", "--corpus", str(tmp_path))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "ATTN_CHECK_SHAPES": "0"}
    done = warm.run("tells", "fuzz", "--backend", "kernel:MyKernel", *options, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "1 held" in done.stdout
    assert "loaded: end" in done.stdout
