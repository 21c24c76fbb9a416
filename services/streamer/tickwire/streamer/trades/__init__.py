"""Feeds of trades: order, repair after interruptions, and the tape."""
