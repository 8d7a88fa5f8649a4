"""`check_kernel`, by which somebody's own test asks a kernel the laws; pytest is not needed."""
