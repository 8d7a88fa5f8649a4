"""Standard output is the command's alone, whoever else prints in its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from properties.commands import output

PRINTS = f"""
import ctypes, os, runpy, sys
take_stdout = runpy.run_path({str(Path(output.__file__))!r})["take_stdout"]
c = ctypes.CDLL(None)
print("before")
taken = take_stdout()
print("from Python")
c.puts(b"from C, when the process ends")
os.write(1, b"from the descriptor\\n")
os.system("echo from a child")
taken.write("ours\\n")
taken.close()
"""


def test_whatever_a_kernel_prints_goes_elsewhere() -> None:
    """From Python, from C, from another process."""
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nours\n"
    for line in ("from Python", "from C, when the process ends", "from the descriptor", "from a child"):
        assert line in done.stderr.splitlines()
