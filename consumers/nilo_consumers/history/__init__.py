"""Events out of the lake and the archive in the order in which Kafka had them."""
