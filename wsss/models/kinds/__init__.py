"""What is known of each backbone, one file a family; nothing here needs torch to be imported."""
