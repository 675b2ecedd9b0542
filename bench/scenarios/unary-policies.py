"""The unary call with what a real edge does: an RS256 token, claims as metadata, a limit, a request id, an access log in
JSON, metrics. Four users, so that a cache of tokens is used as it would be."""
import importlib

import keys

TITLE = "unary GET, 12 fields, with JWT, claim metadata, rate limit, request id, JSON access log, metrics"
RPC = "bench.orders.v1.OrderService/GetOrder"
POLICIES = True
GOALS = {"envoy": 0.33, "us": 19.5}


def exchanges():
    tokens = [keys.token(f"user-{n}") for n in range(4)]
    for n, exchange in enumerate(importlib.import_module("scenarios.unary").exchanges()):
        headers = [["authorization", f"Bearer {tokens[n % 4]}"]]
        yield {**exchange, "http": {**exchange["http"], "headers": headers}}
