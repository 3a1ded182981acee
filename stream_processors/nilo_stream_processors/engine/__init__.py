"""The pure engine: from (state, Arrow batch) to (state, outputs); no Faust, Kafka or clock."""
