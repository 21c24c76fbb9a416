"""The life of processes on one machine: signals, children, locks, ports, and failures kept apart."""
