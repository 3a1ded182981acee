CREATE MATERIALIZED VIEW llm_cost_by_day AS
SELECT (window_start AT TIME ZONE 'UTC')::date AS day,
       coalesce(dimensions ->> 'provider', '') AS provider,
       coalesce(dimensions ->> 'model', '') AS model,
       sum(count)::bigint AS calls,
       sum(sum) AS dollars
FROM (
    SELECT DISTINCT ON (window_start, dimensions) window_start, dimensions, count, sum
    FROM metrics_windows
    WHERE metric = 'llm.cost' AND "window" = '1m' AND window_start >= now() - interval '30 days'
    ORDER BY window_start, dimensions, revision DESC
) AS newest
GROUP BY 1, 2, 3;

CREATE UNIQUE INDEX ON llm_cost_by_day (day, provider, model);

COMMENT ON MATERIALIZED VIEW llm_cost_by_day IS
    'Calls that have a cost, and the cost, by UTC day and model: the windows of the last 30 days';
