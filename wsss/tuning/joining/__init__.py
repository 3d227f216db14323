"""Joining a cluster that is there, and leaving one whose head has gone."""
