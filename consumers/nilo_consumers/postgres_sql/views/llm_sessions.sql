CREATE MATERIALIZED VIEW llm_sessions AS
SELECT session_id,
       min("time") AS first_time,
       max("time") AS last_time,
       count(*) AS events,
       count(*) FILTER (WHERE status = 'ERROR') AS errors,
       sum(cost) / 1000000000.0 AS dollars
FROM events_llm
WHERE session_id IS NOT NULL AND "time" >= now() - interval '7 days'
GROUP BY session_id;

CREATE UNIQUE INDEX ON llm_sessions (session_id);

COMMENT ON MATERIALIZED VIEW llm_sessions IS
    'Sessions with their LLM events of the last seven days: first, last, number, errors, cost';
