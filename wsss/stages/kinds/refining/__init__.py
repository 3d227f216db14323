"""What is known of the stages that lead from CAMs to masks."""
