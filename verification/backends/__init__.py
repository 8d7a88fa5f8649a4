"""Adapters: each makes one implementation a `verification.backends.protocol.Backend`."""
