#!/bin/sh
# What `make compose-test` needs where no image registry can be reached: a Docker engine with compose, and what images of
# the compose files are made of here. Everything comes from Debian's packages; FOLDER keeps it for the next time.
#     tests/deployment/engine/prepare.sh FOLDER
# Exit code 3, and one line: an engine cannot be had on this machine.
set -eu
folder=$1

cannot() { echo "$1" >&2; exit 3; }
[ "$(uname -s)" = Linux ] || cannot "the system is not Linux"
[ "$(id -u)" = 0 ] || cannot "the user is not root"
command -v apt-get > /dev/null || cannot "the system has no apt-get"

mkdir -p "$folder"
exec 9> "$folder/lock"
flock 9
wanted=
for each in dockerd:docker.io iptables:iptables mmdebstrap:mmdebstrap; do
    command -v "${each%:*}" > /dev/null || wanted="$wanted ${each#*:}"
done
if [ -n "$wanted" ]; then
    apt-get update -qq
    # The packages do not start an engine: the test starts its own.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted > /dev/null
fi

# Compose 2 and buildx are in the next release of Debian. They are unpacked, not installed.
plugins=$folder/docker/cli-plugins
if [ ! -x "$plugins/docker-compose" ]; then
    apt=$folder/trixie
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$plugins"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" > "$apt/sources.list"
    options="-o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$apt/lists"
    options="$options -o Dir::Cache=$apt -o APT::Sandbox::User=root -o Acquire::Languages=none"
    apt-get $options update -qq
    (cd "$apt" && apt-get $options download -qq docker-buildx docker-compose)
    for each in "$apt"/*.deb; do dpkg-deb --extract "$each" "$apt/unpacked"; done
    find "$apt/unpacked" -path '*/cli-plugins/docker-*' -type f -exec cp {} "$plugins" \;
    rm -r "$apt"
fi

# python:3.11-slim-bookworm is this system with Python 3.11. In memory, and without fsync.
if [ ! -f "$folder/base.tar" ]; then
    TMPDIR=/dev/shm mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io \
        --include=python3,python3-venv,ca-certificates --format=tar bookworm "$folder/base.tar.new"
    mv "$folder/base.tar.new" "$folder/base.tar"
fi

# InfluxDB 1.x takes the place of 2.x, which Debian does not have.
if [ ! -f "$folder/programs/usr/bin/influxd" ]; then
    debs=$folder/debs
    mkdir -p "$debs"
    (cd "$debs" && apt-get -o APT::Sandbox::User=root download -qq busybox-static influxdb prometheus)
    for each in "$debs"/*.deb; do dpkg-deb --extract "$each" "$folder/programs"; done
    rm -r "$debs"
fi
