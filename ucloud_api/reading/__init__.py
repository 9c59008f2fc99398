"""How things are found, listed, shown and followed, whatever they are."""
