"""Rules once more on the final windows that were: for `nilo alerts why-not` and `nilo advise`."""
