#!/usr/bin/env bash
# Starts the core engine on 127.0.0.1:50052 and the gateway on 127.0.0.1:8080 with the configuration of
# examples/s0-market-data, says what to try, and ends both on Ctrl-C or TERM. `make run` builds and calls it.
#
#   examples/run.sh BINDIR
set -euo pipefail
# Each child in a process group of its own, so that Ctrl-C reaches this script alone and the gateway gets one signal:
# a second one would cut open requests.
set -m

bin=$(cd "${1:?usage: examples/run.sh BINDIR}" && pwd)
cd "$(dirname "$0")/.."
readonly engine_port=50052 gateway_port=8080 admin_port=9901
readonly gateway=http://127.0.0.1:$gateway_port admin=http://127.0.0.1:$admin_port
readonly patience_s=20

fail() {
  echo "examples/run.sh: $1" >&2
  exit "${2:-1}"
}

children=()
end() {
  trap - EXIT INT TERM
  # The gateway first: it may still need the engine for what runs.
  local index
  for ((index = ${#children[@]} - 1; index >= 0; index--)); do
    kill -TERM "${children[index]}" 2>/dev/null || true
    wait "${children[index]}" 2>/dev/null || true
  done
}
trap end EXIT
trap 'exit 0' INT TERM

# Before anything is started, for afterwards it could be our own child that answers.
for port in $engine_port $gateway_port $admin_port; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "port $port of 127.0.0.1 is taken by another program" 69
  fi
done

start() {
  [ -x "$1" ] || fail "$1 is not there: run \`make run\`, or build tidegate and core-engine first"
  "$@" &
  children+=($!)
}
start "$bin/core-engine"
start "$bin/tidegate" run -c examples/s0-market-data/tidegate.yaml

deadline=$((SECONDS + patience_s))
until "$bin/tidegate" healthcheck --url "$gateway/health/readiness" --timeout-ms 500 >/dev/null 2>&1; do
  for child in "${children[@]}"; do
    kill -0 "$child" 2>/dev/null || fail "a program has ended; its last lines are above"
  done
  ((SECONDS < deadline)) || fail "the gateway was not ready within $patience_s s"
  sleep 0.1
done

cat <<EOF

Ready. Try, in another terminal:

  curl -s $gateway/api/v1/ping
  curl -s $gateway/api/v1/ping/core-engine
  curl -s $gateway/api/v1/health
  curl -s --json '{"symbols":["BTCUSDT","ETHUSDT"],"source_id":"simulator"}' $gateway/api/v1/market-data/fetch
  curl -s '$gateway/api/v1/market-data/buffer?symbol=BTCUSDT&limit=5'
  curl -s '$gateway/api/v1/market-data/bars?symbol=BTCUSDT&interval=1m'
  curl -s '$gateway/api/v1/market-data/indicators?symbol=BTCUSDT&interval=1s&indicators=sma:5'
  curl -s '$gateway/api/v1/news/buffer'
  curl -s --json '{"source_id":"simulator"}' $gateway/api/v1/data-sources/connect
  curl -s $gateway/api/v1/ingestion/stats

  $bin/tidegate explain GET $gateway/api/v1/market-data/bufer --admin $admin
  curl -s $admin/metrics

and in a browser the dashboard: $admin/

Ctrl-C ends both.
EOF

# Whichever ends first: alone it is of no use.
wait -n "${children[@]}" || fail "a program has ended with code $?"
