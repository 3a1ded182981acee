CREATE MATERIALIZED VIEW windows_newest AS
SELECT * FROM (
    SELECT DISTINCT ON (metric, "window", window_start, dimensions)
           metric, unit, "window", window_start, window_end, dimensions, count, errors, sum, min, max,
           mean, rate, error_ratio, quantiles, "distinct", revision, watermark, stored_at
    FROM metrics_windows
    WHERE window_start >= now() - interval '7 days'
      AND (window_start >= now() - interval '1 day' OR window_end - window_start >= interval '1 hour')
    ORDER BY metric, "window", window_start, dimensions, revision DESC
) AS newest
WHERE count > 0;  -- the others are withdrawn

CREATE UNIQUE INDEX ON windows_newest (metric, "window", window_start, dimensions);

COMMENT ON MATERIALIZED VIEW windows_newest IS
    'Newest revision of each window of the last day, and of those of an hour or more of the last seven';
