"""Artefacts, leases and ledgers on a medium. Nothing in here knows what an artefact means."""
