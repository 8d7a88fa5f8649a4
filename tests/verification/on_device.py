"""A backend that says by its name which CUDA device its process has."""

from __future__ import annotations

import os

from verification.backends.attn_core import AttnCore
from verification.backends.devices import VISIBLE


class OnDevice(AttnCore):
    name = f"on {os.environ.get(VISIBLE)}"
