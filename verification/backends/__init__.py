"""Backends: the protocol, contracts, observation, and the implementations that are ours or torch's."""
