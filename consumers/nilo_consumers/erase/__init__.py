"""Erasing a subject: its rows leave every store, and a receipt says what is left and until when."""
