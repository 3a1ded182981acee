CREATE MATERIALIZED VIEW llm_errors_by_day AS
SELECT DISTINCT ON (day, provider)
       day, provider, calls, errors, errors::double precision / calls AS error_ratio
FROM (
    SELECT (window_start AT TIME ZONE 'UTC')::date AS day,
           coalesce(dimensions ->> 'provider', '') AS provider,
           sum(count)::bigint AS calls,
           sum(errors)::bigint AS errors,
           min(window_end - window_start) AS length
    FROM (
        SELECT DISTINCT ON ("window", window_start, dimensions)
               "window", window_start, window_end, dimensions, count, errors
        FROM metrics_windows
        WHERE metric = 'llm.calls' AND "window" IN ('1m', '5m', '1h', '1d')
          AND window_start >= now() - interval '30 days'
        ORDER BY "window", window_start, dimensions, revision DESC
    ) AS newest
    GROUP BY 1, 2, "window"
) AS by_length
-- Short windows know today best, long ones are kept for longer: the most calls are all of them.
ORDER BY day, provider, calls DESC, length;

CREATE UNIQUE INDEX ON llm_errors_by_day (day, provider);

COMMENT ON MATERIALIZED VIEW llm_errors_by_day IS
    'Calls and the share that failed, by UTC day and provider: the windows of the last 30 days';
