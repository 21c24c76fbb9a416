"""`tickwire status`."""
