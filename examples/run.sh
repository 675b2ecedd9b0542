#!/usr/bin/env bash
# Starts the backends of an example and the gateway on 127.0.0.1:8080 with its configuration, says what to try, and ends
# all on Ctrl-C or TERM. `make run` builds and calls it.
#
#   examples/run.sh BINDIR [EXAMPLE]        s0-market-data, s1-trading-http or s2-config-grpc; s0, s1, s2 for short
set -euo pipefail
# Each child in a process group of its own, so that Ctrl-C reaches this script alone and the gateway gets one signal:
# a second one would cut open requests.
set -m

bin=$(cd "${1:?usage: examples/run.sh BINDIR [EXAMPLE]}" && pwd)
cd "$(dirname "$0")/.."
example=${2:-s0}
readonly gateway_port=8080 admin_port=9901
readonly gateway=http://127.0.0.1:$gateway_port admin=http://127.0.0.1:$admin_port
readonly patience_s=20

fail() {
  echo "examples/run.sh: $1" >&2
  exit "${2:-1}"
}

# Ports of the example's backends, and the program that has them.
case $example in
  s0 | s0-market-data) example=s0-market-data
    ports=(50052)
    backends=(core-engine --config examples/s0-market-data/offline.yaml)
    ;;
  s1 | s1-trading-http)
    example=s1-trading-http
    ports=({8101..8107})
    backends=(demo-services --only market-data,orders,strategies,account,risk,configuration,dashboard)
    ;;
  s2 | s2-config-grpc)
    example=s2-config-grpc
    ports=(50051 {50053..50056})
    backends=(demo-services --only user-service,order-service,position-service,wallet-service,market-data-service
      --token-secret the-token-secret-of-the-s2-example)
    ;;
  *) fail "there is no example \"$example\" to run: s0-market-data, s1-trading-http, s2-config-grpc" 2 ;;
esac
readonly example

children=()
end() {
  trap - EXIT INT TERM
  # The gateway first: it may still need its backends for what runs.
  local index
  for ((index = ${#children[@]} - 1; index >= 0; index--)); do
    kill -TERM "${children[index]}" 2>/dev/null || true
    wait "${children[index]}" 2>/dev/null || true
  done
}
trap end EXIT
trap 'exit 0' INT TERM

# Before anything is started, for afterwards it could be our own child that answers.
for port in "${ports[@]}" $gateway_port $admin_port; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    fail "port $port of 127.0.0.1 is taken by another program" 69
  fi
done

start() {
  [ -x "$1" ] || fail "$1 is not there: run \`make run\`, or build tidegate, core-engine and demo-services first"
  "$@" &
  children+=($!)
}
start "$bin/${backends[0]}" "${backends[@]:1}"
start "$bin/tidegate" run -c "examples/$example/tidegate.yaml"

deadline=$((SECONDS + patience_s))
until "$bin/tidegate" healthcheck --url "$gateway/health/readiness" --timeout-ms 500 >/dev/null 2>&1; do
  for child in "${children[@]}"; do
    kill -0 "$child" 2>/dev/null || fail "a program has ended; its last lines are above"
  done
  ((SECONDS < deadline)) || fail "the gateway was not ready within $patience_s s"
  sleep 0.1
done

if [ "$example" != s0-market-data ]; then
  printf '\nReady. Try, in another terminal:\n\n'
  if [ "$example" = s1-trading-http ]; then
    cat <<EOF
  key='x-api-key: tg_desk_key_of_the_example'
  curl -s -H "\$key" '$gateway/api/v1/market/orderbook/ACME-USD?depth=2'
  curl -s -H "\$key" --json '{"symbol":"ACME-USD","side":"buy","price":"24.50","quantity":"10"}' $gateway/api/v1/orders
  curl -s -H "\$key" $gateway/api/v1/orders/active
  curl -s -X POST $gateway/api/v1/risk/emergency-stop
EOF
  else
    cat <<EOF
  curl -s --json '{"email":"ann@example.com","password":"correct horse battery","name":"Ann"}' $gateway/api/v1/auth/register
  curl -s --json '{"email":"ann@example.com","password":"correct horse battery"}' $gateway/api/v1/auth/login
  curl -s -H 'authorization: Bearer TOKEN' $gateway/api/v1/wallet/balance
  curl -s $gateway/api/v1/market/symbols
EOF
  fi
  printf '\nMore is in examples/%s/README.md; the dashboard: %s/\n\nCtrl-C ends all.\n' "$example" "$admin"
  wait -n "${children[@]}" || fail "a program has ended with code $?"
  exit 0
fi

cat <<EOF

Ready. Try, in another terminal:

  curl -s $gateway/api/v1/ping
  curl -s $gateway/api/v1/ping/core-engine
  curl -s $gateway/api/v1/health
  curl -s --json '{"symbols":["BTCUSDT","ETHUSDT"],"source_id":"simulator"}' $gateway/api/v1/market-data/fetch
  curl -s '$gateway/api/v1/market-data/buffer?symbol=BTCUSDT&limit=5'
  curl -s '$gateway/api/v1/market-data/bars?symbol=BTCUSDT&interval=1m'
  curl -s '$gateway/api/v1/market-data/indicators?symbol=BTCUSDT&interval=1s&indicators=sma:5'
  curl -s --json '{"keywords":["simulated"]}' $gateway/api/v1/news/fetch
  curl -s '$gateway/api/v1/news/buffer'
  curl -s --json '{"source_id":"simulator"}' $gateway/api/v1/data-sources/connect
  curl -s $gateway/api/v1/ingestion/stats

  $bin/tidegate explain GET $gateway/api/v1/market-data/bufer --admin $admin
  curl -s $admin/metrics

in any WebSocket client, as often as you like:

  ws://127.0.0.1:$gateway_port/api/v1/ws/market-data      {"symbols":["BTCUSDT"],"source_id":"simulator"}

and in a browser the dashboard: $admin/

Ctrl-C ends both.
EOF

# Whichever ends first: alone it is of no use.
wait -n "${children[@]}" || fail "a program has ended with code $?"
