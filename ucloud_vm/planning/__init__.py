"""What to do about a VM: its next steps and its status, from its placement and what is seen here of it. Pure."""
