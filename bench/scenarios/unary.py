"""One small call: a path variable in, a message of twelve fields with two sub-messages and a map out."""
from orders import order

TITLE = "unary GET, 12 fields"
RPC = "bench.orders.v1.OrderService/GetOrder"
GOALS = {"envoy": 0.38, "us": 13}


def exchanges():
    for n in range(16):
        yield {"http": {"method": "GET", "path": f"/v1/orders/{order(n)['id']}"},
               "request": {"id": order(n)["id"]}, "responses": [order(n)], "answer": order(n)}
