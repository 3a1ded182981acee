#!/bin/sh
# Maven has the registry with H2 storage only, so the variables that point the hub's image to
# PostgreSQL are replaced: the data lies in a file in the volume.
set -eu
export REGISTRY_DATASOURCE_URL=jdbc:h2:file:/var/lib/registry/registry
export REGISTRY_DATASOURCE_USERNAME=sa
export REGISTRY_DATASOURCE_PASSWORD=sa
cd /opt/registry
# shellcheck disable=SC2086  # several options in one variable
exec java ${JAVA_OPTIONS:--Xmx512m} -jar apicurio-registry-app-*-runner.jar
