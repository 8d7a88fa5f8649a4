"""A pytest plugin for sessions run as a person runs them: ``-p tests.properties.plant`` with PLANTED=ID in the
environment plants that fault for the whole session.
"""

from __future__ import annotations

import os

from verification.faults import FAULTS

for swap in FAULTS[os.environ["PLANTED"]].swaps:
    swap.made().start()
