#!/bin/sh
# Makes stand-ins for the hub's images on a machine that reaches Debian packages and Maven only.
#
# Usage: make-images.sh [MIRROR]     as root, with a running Docker engine and debootstrap
#   MIRROR  a Debian mirror (default: the first one that apt on this machine uses)
#   SUITE   environment: the Debian release (default trixie, which has Java 21 and Python 3.13)
#   PYTHON  environment: a Python with jgo (default: the checkout's .venv)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=${SUITE:-trixie}
python=${PYTHON:-$here/../../../.venv/bin/python}

apt_mirror() {
    apt-get indextargets --format '$(SITE) $(COMPONENT) $(ORIGIN) $(LABEL)' |
        awk '$2 == "main" && $4 == "Debian" { print $1; exit }'
}

need() {
    command -v "$1" > /dev/null || { echo "$1 is not installed: apt-get install $2" >&2; exit 1; }
}

need docker docker.io
need debootstrap debootstrap
docker info > /dev/null 2>&1 || { echo "no Docker engine answers: start one by 'dockerd &'" >&2; exit 1; }
mirror=${1:-$(apt_mirror)}
[ -n "$mirror" ] || { echo "apt names no Debian mirror: give one, make-images.sh MIRROR" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! docker image inspect "nilo-offline/debian:$suite" > /dev/null 2>&1; then
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/base" "$mirror"
    tar -C "$work/base" -c . | docker import - "nilo-offline/debian:$suite" > /dev/null
    rm -rf "$work/base"
fi

mkdir "$work/context"
cp "$here"/* /etc/ssl/certs/ca-certificates.crt "$work/context"
"$python" "$here/fetch_servers.py" "$work/context"
for target in postgres kafka registry python; do
    docker build --build-arg "BASE=nilo-offline/debian:$suite" --target "$target" \
        --tag "nilo-offline/$target" "$work/context"
done

cat <<END
# for the tests: NILO_TEST_STACK=containers and
export NILO_TEST_KAFKA_IMAGE=nilo-offline/kafka
export NILO_TEST_REGISTRY_IMAGE=nilo-offline/registry
export NILO_TEST_POSTGRES_IMAGE=nilo-offline/postgres
export TESTCONTAINERS_RYUK_DISABLED=true
# for docker compose:
export NILO_KAFKA_IMAGE=nilo-offline/kafka
export NILO_REGISTRY_IMAGE=nilo-offline/registry
export NILO_POSTGRES_IMAGE=nilo-offline/postgres
export NILO_PYTHON_IMAGE=nilo-offline/python
END
