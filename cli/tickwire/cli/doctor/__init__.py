"""`tickwire doctor`: finds the step that fails on the way to an exchange."""
