"""The facts of the stages that lead from CAMs to masks."""
