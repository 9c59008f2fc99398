"""Who asks, whether that is true, and what it may do."""
