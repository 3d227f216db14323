"""What talks to an MLflow server: files of runs, conclusions, the registry, and what can go wrong."""
