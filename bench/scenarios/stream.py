"""A server stream of 100 small events that are all there at once, as one JSON array."""
TITLE = "server stream, 100 events"
RPC = "bench.orders.v1.OrderService/WatchOrders"


def exchanges():
    for customer in range(4):
        events = [{"sequence": str(n + 1), "orderId": f"ord-{customer:02}-{n:04}", "status": "STATUS_FILLED",
                   "price": 100.5 + n} for n in range(100)]
        yield {"http": {"method": "GET", "path": f"/v1/events?customer=c{customer}",
                        "headers": [["accept", "application/json"]]},
               "request": {"customer": f"c{customer}"}, "responses": events, "answer": events}
