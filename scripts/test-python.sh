#!/usr/bin/env bash
# Builds the Python package into an environment of its own, target/python, and tests it: lints, types, and pytest with the same
# fixtures as the encoder. Arguments go to pytest.
#
# It shares the target folder of the workspace, so that dependencies of the same features are compiled already. Skipped where there is no Python
# to build for or its tools cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

environment=$CARGO_TARGET_DIR/python
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then
    echo "skipped: there is no python3 of version 3.10 or later"
    exit 0
fi
if ! { [ -x "$environment/bin/python" ] || python3 -m venv "$environment"; } ||
    ! "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
        --requirement python/requirements-test.txt; then
    echo "skipped: the tools of python/requirements-test.txt cannot be installed"
    exit 0
fi

export PATH="$environment/bin:$PATH" VIRTUAL_ENV="$environment"
cargo fmt --manifest-path python/Cargo.toml --check
cargo clippy --locked --manifest-path python/Cargo.toml -- --deny warnings
ruff check python
ruff format --check python
maturin develop --quiet --locked --manifest-path python/Cargo.toml
(cd python && mypy hpd && python -m mypy.stubtest hpd._native --ignore-missing-stub && pytest --quiet "$@")
