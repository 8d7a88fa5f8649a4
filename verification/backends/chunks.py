"""Chunked prefills by `attn_core`, which has none of its own: kernels that have one are measured beside these.

They do not lie among the adapters, since they are ours and no author of a kernel has to write the like.
"""

from __future__ import annotations

from verification.backends.attn_core import AttnCore, fast
from verification.backends.token_by_token import TokenByToken

EAGER = TokenByToken(AttnCore())
SDPA = TokenByToken(fast("sdpa"))
FLEX = TokenByToken(fast("flex"))
