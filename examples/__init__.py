"""What an engine or a model has to do to use `attn_core`, as code that runs."""
