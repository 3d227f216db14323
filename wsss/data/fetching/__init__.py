"""What `data fetch` can bring, one file each."""
