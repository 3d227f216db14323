"""What is known of the stages that measure others."""
