"""The sink: what is on the tape, into an InfluxDB."""
