"""Fast forms of single operations; each says what it means in plain torch."""
