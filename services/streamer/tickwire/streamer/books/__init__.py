"""Book feeds: books kept from deltas or copied from ccxt, and the deltas themselves."""
