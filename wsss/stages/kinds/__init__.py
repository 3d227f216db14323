"""The facts of stages, one file a stage; nothing here needs torch to be imported."""
