"""What is known of each stage, one file a stage; nothing here needs torch to be imported."""
