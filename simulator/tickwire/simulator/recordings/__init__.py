"""Recorded exchanges: files of raw answers and messages, played again on command."""
