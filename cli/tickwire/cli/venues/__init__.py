"""What works on which exchange, and how that is known: `tickwire venues` and docs/venues.md."""
