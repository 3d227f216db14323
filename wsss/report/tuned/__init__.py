"""What a storage tells of tuning: the best of k, choosing with fewer masks, choosing by other scores."""
