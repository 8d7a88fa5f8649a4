"""A finding as one file that runs without us: literal tensors, the call, the exact answer, an assert.

`snippets` is what a backend says of itself, `page` writes the file, `trial` runs it.
"""
