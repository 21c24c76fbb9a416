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
[ -z "$wanted" ] && [ -f "$folder/programs/influxd" ] || apt-get update -qq
# The packages do not start an engine: the test starts its own.
[ -z "$wanted" ] || RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted > /dev/null

# Compose 2 and buildx are in the next release of Debian. They are unpacked, not installed.
plugins() {
    apt=$folder/trixie
    rm -rf "$apt"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$folder/docker"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" > "$apt/sources.list"
    options="-o Dir::Etc::SourceList=$apt/sources.list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$apt/lists"
    options="$options -o Dir::Cache=$apt -o APT::Sandbox::User=root -o Acquire::Languages=none"
    apt-get $options update -qq
    (cd "$apt" && apt-get $options download -qq docker-buildx docker-compose)
    for each in "$apt"/*.deb; do dpkg-deb --extract "$each" "$apt/unpacked"; done
    mv "$apt/unpacked/usr/libexec/docker/cli-plugins" "$folder/docker"
    rm -r "$apt"
}

# What of python:3.11-slim-bookworm the Dockerfile uses: Python 3.11 of this system, and a shell. Unpacked in memory, not
# installed: the packages' scripts take three quarters of the time.
python() {
    TMPDIR=/dev/shm mmdebstrap --quiet --variant=extract --format=tar \
        --include=base-files,base-passwd,coreutils,dash,libc-bin,libstdc++6,passwd,python3,python3-venv,ca-certificates \
        bookworm "$folder/python.tar.new"
    mv "$folder/python.tar.new" "$folder/python.tar"
}

# InfluxDB 1.x takes the place of 2.x, which Debian does not have.
programs() {
    debs=$folder/debs
    rm -rf "$debs"
    mkdir -p "$debs/programs"
    (cd "$debs" && apt-get -o APT::Sandbox::User=root download -qq busybox-static influxdb prometheus)
    for each in "$debs"/*.deb; do dpkg-deb --extract "$each" "$debs/unpacked"; done
    (cd "$debs/unpacked" && mv bin/busybox usr/bin/influxd usr/bin/prometheus ../programs)
    rm -rf "$folder/programs"
    mv "$debs/programs" "$folder"
    rm -r "$debs"
}

# At the same time: most of it is waiting.
parts=
[ -d "$folder/docker/cli-plugins" ] || { plugins & parts="$parts $!"; }
[ -f "$folder/python.tar" ] || { python & parts="$parts $!"; }
[ -f "$folder/programs/influxd" ] || { programs & parts="$parts $!"; }
failed=
for each in $parts; do wait "$each" || failed=1; done
[ -z "$failed" ]
