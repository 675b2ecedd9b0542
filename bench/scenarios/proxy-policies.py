"""The same with what a real edge does: an RS256 token, claims as headers, a limit, a request id, an access log in JSON,
metrics. Four users, so that a cache of tokens is used as it would be."""
import importlib

import keys
from orders import order

TITLE = "HTTP proxy with JWT, claim headers, rate limit, request id, JSON access log, metrics"
BACKEND = "http"
POLICIES = True
CONNECTIONS = (64,)
GOALS = {"envoy": 0.4, "us": 20}


def exchanges():
    proxy = importlib.import_module("scenarios.proxy")
    tokens = [keys.token(f"user-{n}") for n in range(4)]
    for n in range(16):
        yield {"http": {"method": "GET", "path": f"/v1/orders/{order(n)['id']}",
                        "headers": [["authorization", f"Bearer {tokens[n % 4]}"]]}, "answer": proxy.body(n)}
