"""The conservation ledger: what went into Kafka against what each store holds."""
