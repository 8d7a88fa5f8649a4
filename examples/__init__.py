"""Examples of what an engine or a model does to use `attn_core`, as code that runs."""
