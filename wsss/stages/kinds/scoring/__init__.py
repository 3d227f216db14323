"""The facts of the stages that measure others."""
