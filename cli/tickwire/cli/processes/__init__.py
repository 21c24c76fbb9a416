"""The commands that run until they are stopped: up, service, simulator; and declare."""
