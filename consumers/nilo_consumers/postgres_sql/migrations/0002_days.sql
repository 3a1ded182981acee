-- The plain tables of earlier versions become partitioned by day. What they hold stays where it
-- is and becomes the DEFAULT partition; the maintenance moves the days that are still hot.
DO $$
DECLARE
    old record;
    permit record;
BEGIN
    FOR old IN
        SELECT c.oid, c.relname AS name, c.relname || '_default' AS rest, k.conname AS key,
               pg_get_userbyid(c.relowner) AS owner, c.relacl AS acl,
               obj_description(c.oid, 'pg_class') AS about,
               CASE c.relname WHEN 'metrics_windows' THEN 'window_start' ELSE 'time' END AS at,
               CASE c.relname
                   WHEN 'metrics_windows'
                   THEN 'metric, "window", window_start, dimensions, revision'
                   ELSE 'kafka_partition, kafka_offset, "time"'
               END AS columns
        FROM pg_class c
        JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
        WHERE c.relnamespace = current_schema()::regnamespace
          AND c.relkind = 'r'
          AND NOT c.relispartition
          AND (c.relname = 'metrics_windows'
               OR pg_get_constraintdef(k.oid) = 'PRIMARY KEY (kafka_partition, kafka_offset)')
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %I RENAME TO %I', old.name, old.rest);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', old.rest, old.key);
        EXECUTE format('DROP INDEX IF EXISTS %I', old.name || '_time');
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING COMMENTS) PARTITION BY RANGE (%I)',
                       old.name, old.rest, old.at);
        EXECUTE format('ALTER TABLE %I OWNER TO %I', old.name, old.owner);
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (%s)', old.name, old.columns);
        EXECUTE format('CREATE INDEX ON %I USING brin (%I)', old.name, old.at);
        IF old.name <> 'metrics_windows' THEN
            EXECUTE format(
                'CREATE INDEX ON %I USING brin (id text_bloom_ops, session_id text_bloom_ops,'
                ' subject text_bloom_ops) WITH (pages_per_range = 32)', old.name);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I DEFAULT', old.name, old.rest);
        EXECUTE format('COMMENT ON TABLE %I IS %L', old.name, old.about);
        FOR permit IN
            SELECT privilege_type AS kind, grantee, is_grantable FROM aclexplode(old.acl)
            WHERE grantee <> (SELECT relowner FROM pg_class WHERE oid = old.oid)
        LOOP
            EXECUTE format('GRANT %s ON %I TO %s%s', permit.kind, old.name,
                           CASE permit.grantee
                               WHEN 0 THEN 'PUBLIC'
                               ELSE quote_ident(pg_get_userbyid(permit.grantee))
                           END,
                           CASE WHEN permit.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
        END LOOP;
    END LOOP;
END $$;
