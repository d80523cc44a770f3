# Sourced by the other scripts: `prepare LOCK` leaves in $venv a Python with exactly what the lock says, and Seatline itself.
# shellcheck shell=bash
set -euo pipefail

root=$(CDPATH='' cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

say() { echo "seatline: $*" >&2; }

find_python() {
    local python lame=
    for python in python3.13 python3.12 python3.11 python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$python"
            return
        fi
        lame=$python
    done
    if [ -n "$lame" ]; then
        say "$lame can't make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
    else
        say "Python 3.11 or newer is needed, and none is on the PATH"
    fi
    exit 2
}

# A moved clone or another Python leaves scripts that point nowhere, so both belong to what a .venv is.
venv_identity() { echo "$venv $("$venv/bin/python" --version 2>/dev/null)"; }

stamp_for() { echo "$1 $(cat "$root/$1" "$root/pyproject.toml" | cksum)"; }

up_to_date() {
    local stamp
    [ "$(cat "$venv/identity" 2>/dev/null)" = "$(venv_identity)" ] || return 1
    stamp=$(cat "$venv/stamp" 2>/dev/null) || return 1
    # The dev lock holds all of the other one.
    [ "$stamp" = "$(stamp_for "$1")" ] || [ "$stamp" = "$(stamp_for requirements-dev.lock)" ]
}

install() {
    local python
    if [ "$(cat "$venv/identity" 2>/dev/null)" != "$(venv_identity)" ]; then
        python=$(find_python)
        say "preparing .venv with $("$python" --version), which takes up to a minute and only happens once"
        "$python" -m venv --clear "$venv"
        venv_identity >"$venv/identity"
    else
        say "bringing .venv up to date"
    fi
    rm -f "$venv/stamp"
    pip_install --require-hashes --requirement "$root/$1"
    pip_install --no-build-isolation --editable "$root"
    stamp_for "$1" >"$venv/stamp"
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --no-deps "$@" || {
        say "the installation failed; what pip says is above"
        exit 3
    }
}

prepare() {
    exec 9<"$root/pyproject.toml" # a lock that needs no file of its own
    if command -v flock >/dev/null; then flock 9; fi
    up_to_date "$1" || install "$1"
    exec 9<&-
}
