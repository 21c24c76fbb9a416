"""`tickwire demo`: the whole system on a simulated exchange."""
