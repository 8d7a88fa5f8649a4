"""Adapters: each makes one implementation a `verification.backend.Backend`."""
