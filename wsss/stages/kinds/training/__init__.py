"""The facts of the stages that train a network."""
