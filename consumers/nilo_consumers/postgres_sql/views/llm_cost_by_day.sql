CREATE MATERIALIZED VIEW llm_cost_by_day AS
SELECT DISTINCT ON (day, provider, model) day, provider, model, calls, dollars
FROM (
    SELECT (window_start AT TIME ZONE 'UTC')::date AS day,
           coalesce(dimensions ->> 'provider', '') AS provider,
           coalesce(dimensions ->> 'model', '') AS model,
           sum(count)::bigint AS calls,
           sum(sum) AS dollars,
           min(window_end - window_start) AS length
    FROM (
        SELECT DISTINCT ON ("window", window_start, dimensions)
               "window", window_start, window_end, dimensions, count, sum
        FROM metrics_windows
        WHERE metric = 'llm.cost' AND "window" IN ('1m', '5m', '1h', '1d')
          AND window_start >= now() - interval '30 days'
        ORDER BY "window", window_start, dimensions, revision DESC
    ) AS newest
    GROUP BY 1, 2, 3, "window"
) AS by_length
-- Short windows know today best, long ones are kept for longer: the most calls are all of them.
ORDER BY day, provider, model, calls DESC, length;

CREATE UNIQUE INDEX ON llm_cost_by_day (day, provider, model);

COMMENT ON MATERIALIZED VIEW llm_cost_by_day IS
    'Calls that have a cost, and the cost, by UTC day and model: the windows of the last 30 days';
