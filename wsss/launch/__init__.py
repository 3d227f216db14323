"""What stands between a command and the first trial: the study, permission, preflight, the run itself."""
