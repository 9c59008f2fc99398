"""Images, where they are kept, and the files that they are made of."""
