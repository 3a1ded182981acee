"""`nilo alerts why`: an alert with its evidence, and what it came from."""
