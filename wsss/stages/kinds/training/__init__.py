"""What is known of the stages that train a network."""
