"""Scripts: a finding as one file that runs without us, with literal tensors, the call, the exact answer and an assert.

`pick` chooses the calls to show, `called` finds out how a backend is called, `page` writes the file, `trial` runs it.
"""
