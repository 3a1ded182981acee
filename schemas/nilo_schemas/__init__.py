"""Events, contracts, codecs, topics, settings and the metrics catalogue: the ground floor."""
