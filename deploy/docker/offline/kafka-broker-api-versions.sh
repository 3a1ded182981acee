#!/bin/sh
# The health check of docker-compose.yml calls it by the official image's path.
# shellcheck disable=SC2086  # several options in one variable
exec java ${KAFKA_HEAP_OPTS:--Xmx128m} -cp '/opt/kafka/libs/*' \
    org.apache.kafka.tools.BrokerApiVersionsCommand "$@"
