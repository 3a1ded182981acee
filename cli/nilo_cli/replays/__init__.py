"""What `nilo replay` does: which events, out of which store, and what is told of it."""
