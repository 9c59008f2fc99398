"""VMs: their routes, and what a wish makes of a request. What cannot do I/O says so."""
