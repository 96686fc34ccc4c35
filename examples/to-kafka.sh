#!/usr/bin/env bash
# Starts the gateway with the settings of an example, publishes its message and shows it in Kafka.
#
#   examples/to-kafka.sh mqtt | websocket | coap | lwm2m [OPTION...]
#
# On the PATH: tidegate, curl, the client of the example's publish.sh, and Kafka's bin folder. Kafka listens on
# 127.0.0.1:9092 and makes topics by itself, as it does by default. An OPTION goes to Kafka's consumer:
# --max-messages 1 ends it after one message, else Ctrl-C does.
set -euo pipefail
example="$(cd "$(dirname "$0")" && pwd)/${1:?mqtt, websocket, coap or lwm2m}-to-kafka"
topics="$(sed -n 's/^topic = "\([a-z0-9.]*\).*/\1/p' "$example/tidegate.toml" | paste -sd '|')"
work="$(mktemp -d)"

tidegate serve --config "$example/tidegate.toml" --data "$work" &
gateway=$!
trap 'kill $gateway || true; wait $gateway || true; rm -r "$work"' EXIT
curl -fs --retry 50 --retry-delay 1 --retry-connrefused -o /dev/null 127.0.0.1:18083/readyz
bash -eu "$example/publish.sh"

kafka-console-consumer.sh --bootstrap-server 127.0.0.1:9092 --include "($topics).*" --from-beginning \
  --property print.key=true --property print.headers=true --consumer-property metadata.max.age.ms=1000 "${@:2}"
