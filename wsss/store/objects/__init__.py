"""Artefacts, leases and ledgers on an object storage, with copies of what this machine uses."""
