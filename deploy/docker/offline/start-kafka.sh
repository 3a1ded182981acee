#!/bin/sh
# Kafka's own wrapper reads the KAFKA_… variables and formats the storage, as in its official image.
set -eu
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"
config=/opt/kafka/config
setup() {
    java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \
        --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \
        --final-configs-dir "$config" 2>&1
}

# on a restart the wrapper writes the configuration and then refuses to format a second time
said=$(setup) || echo "$said" | grep -i "already formatted" || { echo "$said" >&2; exit 1; }
# shellcheck disable=SC2086  # several options in one variable
exec java ${KAFKA_HEAP_OPTS:--Xmx512m} -Dlog4j2.configurationFile="$config/log4j2.yaml" \
    -cp '/opt/kafka/libs/*' kafka.Kafka "$config/server.properties"
