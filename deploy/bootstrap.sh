#!/bin/sh
# Makes .venv exactly as requirements.lock says, from nothing but a Python 3.11 to 3.13.
# Does nothing when the lock, pyproject.toml and the Python are the ones of the last time.
# PYTHON=python3.12 deploy/bootstrap.sh chooses the Python.
set -eu
cd "$(dirname "$0")/.."

WANTED='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
STAMP=.venv/.nilometer-stamp
LOCK=requirements.lock
# Company networks often have a certificate authority of their own: believe the system's.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" PIP_DISABLE_PIP_VERSION_CHECK=1

fail() {
    echo "nilometer: $1" >&2
    exit 1
}

fits() {
    "$1" -c "$WANTED" 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 to 3.13; name another one"
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11; do
        if fits "$name"; then
            echo "$name"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no python3")
    fail "needs Python 3.11, 3.12 or 3.13, found $found; install one, or say PYTHON=/path/to/python3.12"
}

checksum() {
    {
        cat "$LOCK" pyproject.toml deploy/bootstrap.sh
        "$1" -c 'import sys; print(sys.version, sys.base_prefix)'
        pwd
    } | cksum
}

# The block of uv in the lock: its version and its hashes, which pip checks.
uv_block() {
    awk '/^uv==/ {inside = 1} inside {print} inside && !/\\$/ {exit}' "$LOCK"
}

install_uv() {
    rm -rf .bootstrap
    mkdir .bootstrap
    uv_block >.bootstrap/uv.txt
    if "$1" -c 'import ensurepip' 2>/dev/null; then
        "$1" -m venv .bootstrap/venv
        .bootstrap/venv/bin/python -m pip install --quiet --require-hashes -r .bootstrap/uv.txt
        UV=.bootstrap/venv/bin/uv
    elif "$1" -m pip --version >/dev/null 2>&1; then
        "$1" -m pip install --quiet --require-hashes --target .bootstrap/lib -r .bootstrap/uv.txt
        UV=.bootstrap/lib/bin/uv
    elif command -v uv >/dev/null; then
        UV=uv
    else
        fail "$1 has neither venv nor pip, and there is no uv; on Debian: apt-get install python3-venv"
    fi
}

install_all() {
    install_uv "$1"
    if ! fits .venv/bin/python || [ "$2" != "$(version .venv/bin/python)" ]; then
        "$UV" venv --quiet --clear --python "$1" .venv
    fi
    "$UV" pip sync --python .venv/bin/python --require-hashes "$LOCK"
    "$UV" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --offline -e .
}

version() {
    "$1" -c 'import sys; print(sys.version)'
}

main() {
    python=$(find_python)
    sum=$(checksum "$python")
    if [ -x .venv/bin/nilo ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$sum" ]; then
        return
    fi
    echo "nilometer: installing into .venv as $LOCK says" >&2
    install_all "$python" "$(version "$python")"
    rm -rf .bootstrap
    echo "$sum" >"$STAMP"
}

main
