"""Analytics: what the audit amounts to, counted; it only reads."""
