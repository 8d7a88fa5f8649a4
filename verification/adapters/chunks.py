"""`attn_core`, which has no chunked prefill, asked for one: what kernels that have are measured beside."""

from __future__ import annotations

from verification.backends.attn_core import AttnCore, fast
from verification.backends.token_by_token import TokenByToken

EAGER = TokenByToken(AttnCore())
SDPA = TokenByToken(fast("sdpa"))
FLEX = TokenByToken(fast("flex"))
