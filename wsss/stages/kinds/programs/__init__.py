"""The facts of the stages whose files come from programs of other people."""
