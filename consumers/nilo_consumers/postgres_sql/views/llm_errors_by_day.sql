CREATE MATERIALIZED VIEW llm_errors_by_day AS
SELECT (window_start AT TIME ZONE 'UTC')::date AS day,
       coalesce(dimensions ->> 'provider', '') AS provider,
       sum(count)::bigint AS calls,
       sum(errors)::bigint AS errors,
       sum(errors)::double precision / sum(count) AS error_ratio
FROM (
    SELECT DISTINCT ON (window_start, dimensions) window_start, dimensions, count, errors
    FROM metrics_windows
    WHERE metric = 'llm.calls' AND "window" = '1m' AND window_start >= now() - interval '30 days'
    ORDER BY window_start, dimensions, revision DESC
) AS newest
GROUP BY 1, 2;

CREATE UNIQUE INDEX ON llm_errors_by_day (day, provider);

COMMENT ON MATERIALIZED VIEW llm_errors_by_day IS
    'Calls and the share that failed, by UTC day and provider: the windows of the last 30 days';
