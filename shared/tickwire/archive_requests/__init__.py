"""Requests to the archive, of services and programs: over the bus, without files and without pyarrow."""
