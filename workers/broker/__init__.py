"""How the workers take messages off the broker."""
