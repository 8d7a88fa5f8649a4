"""Isolation of backends that may die: each lives in a process of its own, which is replaced when it dies.

Laws ask an `isolated.Isolated`; its `host.Host` owns the process, which a `keeper` forks; `shipment` has the messages.
"""
