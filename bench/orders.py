"""The orders that the scenarios talk about, as proto3 JSON."""

STATUSES = ("STATUS_OPEN", "STATUS_FILLED", "STATUS_CANCELLED")
SYMBOLS = ("EURUSD", "XAUUSD", "BTCUSDT", "AAPL")
CITIES = ("Lisbon", "Gdańsk", "Osaka", "Montréal", "Austin")


def order(n):
    """Order number n: all twelve fields set, about 320 bytes of JSON. Different n differ in most fields."""
    return {
        "id": f"ord-{n:06}",
        "customer": f"c-{n % 17}",
        "symbol": SYMBOLS[n % 4],
        "status": STATUSES[n % 3],
        "quantity": str(100 + 37 * n),
        "price": 1.0825 + n * 0.25,
        "priority": 1 + n % 5,
        "paid": True,
        "tags": ["retail", f"d{n % 7}"],
        "shipTo": {"street": f"{1 + n} Quay", "city": CITIES[n % 5], "country": "PT"},
        "total": {"currency": "EUR", "units": str(1000 + n), "nanos": 250000000},
        "labels": {"channel": "web", "region": f"eu-{n % 3}"},
    }
