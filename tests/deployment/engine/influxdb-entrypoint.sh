#!/bin/sh
# Writes where the entry point of influxdb:2.7 does, in the same order.
set -e
mkdir -p /var/lib/influxdb2/engine
chmod 700 /var/lib/influxdb2 /var/lib/influxdb2/engine
mkdir -p /etc/influxdb2
chmod 775 /etc/influxdb2
if [ ! -f /var/lib/influxdb2/influxd.bolt ]; then
    echo '{}' > /tmp/config.json
    echo > /etc/influxdb2/influx-configs
    touch /var/lib/influxdb2/influxd.bolt
fi
exec influxd "$@"
