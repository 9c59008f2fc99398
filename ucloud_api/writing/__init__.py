"""How records are made, changed and removed, whatever they are of, and how that is answered."""
