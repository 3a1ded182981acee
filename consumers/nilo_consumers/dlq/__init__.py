"""Dead letters: which there are, what is in them, and sending them again after a fix."""
