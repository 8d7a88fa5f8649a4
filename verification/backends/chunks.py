"""`attn_core`, which has no chunked prefill, asked for one: what kernels that have are measured beside.

Not among the adapters: nothing here is somebody else's, and no author has to write the like.
"""

from __future__ import annotations

from verification.backends.attn_core import AttnCore, fast
from verification.backends.token_by_token import TokenByToken

EAGER = TokenByToken(AttnCore())
SDPA = TokenByToken(fast("sdpa"))
FLEX = TokenByToken(fast("flex"))
