"""Feeds of order books: books kept from changes, and the changes themselves."""
