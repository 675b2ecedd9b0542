"""A body of twelve fields in, the same message out: the whole way through the transcoder in both directions."""
from orders import order

TITLE = "unary POST, 12 fields in and out"
RPC = "bench.orders.v1.OrderService/CreateOrder"


def exchanges():
    for n in range(16):
        yield {"http": {"method": "POST", "path": "/v1/orders", "body": order(n)},
               "request": order(n), "responses": [order(n)], "answer": order(n)}
