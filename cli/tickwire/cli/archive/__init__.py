"""The group `tickwire archive`."""
