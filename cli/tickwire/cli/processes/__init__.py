"""The commands that run until they are stopped: up, service, simulator; and declare."""

from tickwire.process.imports import without

# Only structlog's coloured tracebacks use rich (22 ms of CPU); `tickwire.observe.logs` prints plain ones.
with without("rich"):
    import structlog as structlog
