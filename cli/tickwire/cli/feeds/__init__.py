"""The commands of live feeds: watch, start, stop, ps."""
