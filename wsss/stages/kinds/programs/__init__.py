"""What is known of stages whose files come from programs of somebody else."""
