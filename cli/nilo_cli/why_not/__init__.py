"""`nilo alerts why-not`: why a rule is silent, or that it is not."""
