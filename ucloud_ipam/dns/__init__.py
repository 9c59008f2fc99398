"""Names: the cloud's own are answered from networks' zones, all others by asking the name servers of the settings."""
