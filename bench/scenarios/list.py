"""A list of 50 orders, about 15 KB of JSON; two query parameters in."""
from orders import order

TITLE = "list of 50, 15 KB out"
RPC = "bench.orders.v1.OrderService/ListOrders"
GOALS = {"envoy": 0.2, "us": 44}


def exchanges():
    for page in range(4):
        answer = {"orders": [order(50 * page + n) for n in range(50)], "nextPageToken": f"page-{page + 1}"}
        yield {"http": {"method": "GET", "path": f"/v1/orders?customer=customer-{page}&page_size=50"},
               "request": {"customer": f"customer-{page}", "pageSize": 50}, "responses": [answer], "answer": answer}
