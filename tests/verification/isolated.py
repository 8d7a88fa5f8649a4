"""Scripts in an interpreter that has numpy and torch, and nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OURS = ("attn_core", "verification", "properties", "tests", "jaxtyping", "ml_dtypes")
DRIVER = f"""\
import contextlib, io, json, logging, sys

class Nowhere:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in {OURS!r}:
            raise ModuleNotFoundError(f"{{name}} is not to be had here")

sys.meta_path.insert(0, Nowhere)
for line in sys.stdin:
    path, printed, end = json.loads(line), io.StringIO(), ""
    before = set(sys.modules)
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(open(path, encoding="utf-8").read(), path, "exec"), {{"__name__": "__main__"}})
        except BaseException as error:
            end = f"{{type(error).__name__}}: {{error}}"
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("attn_core", "planted_fault"):
            del sys.modules[name]
    for name in ("attn_core.numeric_range", "attn_core.invalid_index"):
        logging.getLogger(name).handlers.clear()
    print(json.dumps([end, printed.getvalue()]), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """``error`` is empty where the script came to its end."""

    error: str
    printed: str


def run_isolated(texts: dict[str, str], folder: Path) -> dict[str, Ended]:
    """Each script in a namespace of its own, all in one interpreter: importing torch takes two seconds."""
    paths = [folder / f"{i}.py" for i in range(len(texts))]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-I", "-c", DRIVER],
        input="".join(f"{json.dumps(str(path))}\n" for path in paths),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    return {name: Ended(*line) for name, line in zip(texts, lines, strict=True)}
