"""Verbs on what studies leave behind: the storage, and MLflow's view of it."""
