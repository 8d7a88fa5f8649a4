"""Problems to try and laws that must always hold. `check_kernel` asks a kernel every law, in somebody's own test.

This module is loaded wherever pytest is, so what is heavy is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from properties.check.checked import Checked, CheckedCell, CheckFailed
    from properties.check.kernel import check_kernel
else:

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module("properties.check.kernel"), name)


__all__ = ["CheckFailed", "Checked", "CheckedCell", "check_kernel"]
