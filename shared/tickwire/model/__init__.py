"""What messages, names, times and numbers are. No I/O; imports nothing but errors."""
