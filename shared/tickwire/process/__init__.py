"""Processes on one machine: signals, child processes, locks, ports, bulkheads and back-off."""
