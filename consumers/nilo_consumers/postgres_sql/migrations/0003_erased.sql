-- Which offsets `nilo erase` has deleted, written in the transaction that deletes them. It does not
-- say whose they were.
CREATE TABLE erased_offsets (
    erasure uuid NOT NULL,
    topic text NOT NULL,       -- without prefix
    stored_in text NOT NULL,   -- the partition of our table
    partition integer NOT NULL,
    rows bigint NOT NULL,
    offsets int8multirange NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    cleaned_at timestamptz,    -- since when neither dead rows nor views hold them
    PRIMARY KEY (erasure, topic, stored_in, partition)
);
