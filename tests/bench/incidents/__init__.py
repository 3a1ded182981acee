"""`nilo bench incidents`: which injected incidents the rules find, how soon, and false alarms."""
