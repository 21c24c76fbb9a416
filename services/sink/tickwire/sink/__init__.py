"""The sink: what is on the tape, into an InfluxDB."""

from tickwire.process.imports import bare, without

# Only InfluxDB's encoder of the line protocol is used: its client, and what that needs, take 0.1 s of CPU.
with bare("influxdb_client", "client", "client.util", "client.write", "domain"), without("numpy"):
    from influxdb_client.client.write import point as point
    from influxdb_client.domain import write_precision as write_precision
