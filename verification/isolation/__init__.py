"""Backends that may die: each lives in a process of its own, which is replaced.

`isolated.py` is what laws ask, `host.py` has the process, `keeper.py` is the process, `shipment.py` is what travels.
"""
