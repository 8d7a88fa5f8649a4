"""A kernel whose contract cannot be made: see `tests.properties.test_cli`."""

from __future__ import annotations

from verification.adapter import DenseAdapter, promising


class Kernel(DenseAdapter):
    name = "misspelt"
    contract = promising("float16", blind="zero")  # type: ignore[arg-type]
