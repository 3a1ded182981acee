#!/bin/sh
# The official image's contract: POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB make the
# cluster on the first start; later starts leave it as it is.
set -eu
data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$data/PG_VERSION" ]; then
    passwords=$(mktemp)
    printf '%s\n' "${POSTGRES_PASSWORD:?POSTGRES_PASSWORD is not set: give the password}" > "$passwords"
    "$bin/initdb" -D "$data" -U "$user" --encoding=UTF8 --auth-local=trust \
        --auth-host=scram-sha-256 --pwfile="$passwords"
    rm "$passwords"
    echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
    if [ "$database" != postgres ]; then
        echo "CREATE DATABASE \"$database\"" | "$bin/postgres" --single -D "$data" postgres
    fi
fi
exec "$bin/postgres" -D "$data" -c listen_addresses='*'
