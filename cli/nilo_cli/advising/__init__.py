"""`nilo advise`: what some days of windows say of the rules, and of what the metrics cost."""
