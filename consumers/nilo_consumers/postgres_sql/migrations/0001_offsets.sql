CREATE TABLE IF NOT EXISTS sink_offsets (
    sink text,
    topic text,
    partition integer,
    next_offset bigint NOT NULL,
    PRIMARY KEY (sink, topic, partition)
);

CREATE TABLE schema_views (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);
