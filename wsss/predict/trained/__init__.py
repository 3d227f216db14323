"""A trained network: what names one, and reading it from an artefact, a file or a registered model."""
