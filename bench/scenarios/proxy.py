"""HTTP/1.1 in, HTTP/1.1 out, no policy: a body of 315 bytes over connections that stay."""
import json

from orders import order

TITLE = "HTTP proxy, 315-byte body, keep-alive"
BACKEND = "http"
CONNECTIONS = (64, 512)
GOALS = {"nginx": 1.05, "envoy": 0.5}
BODY_BYTES = 315


def body(n):
    """An order, filled up so that the backend's text of it has 315 bytes."""
    value = {**order(n), "note": ""}
    # As serde_json writes it: no spaces, letters beyond ASCII as they are.
    size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    if size > BODY_BYTES:
        value.pop("labels")
        size = len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())
    return {**value, "note": "x" * (BODY_BYTES - size)}


def exchanges():
    for n in range(16):
        yield {"http": {"method": "GET", "path": f"/v1/orders/{order(n)['id']}"}, "answer": body(n)}
