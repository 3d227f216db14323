"""What talks to an MLflow server: operations, files of runs, conclusions, and the registry of models."""
