"""Stream processors: the pure engine, and the Faust app around it."""
