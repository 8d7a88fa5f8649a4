"""The laws asked in one's own test file, without pytest."""
