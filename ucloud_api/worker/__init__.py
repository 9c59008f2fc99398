"""What one worker process of the API holds: the store, what it follows of it, and who follows the worker."""
