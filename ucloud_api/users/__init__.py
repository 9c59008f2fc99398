"""Users, their keys and sessions, and projects."""
