#!/usr/bin/env bash
# Builds the wheel that people install: target/wheels/hpd-VERSION-….whl, with the program `hpd` and the models that come with it.
#
#   scripts/package-python.sh [PROFILE]     cargo's profile; default: dist
#
# It needs maturin (`pip install maturin`).
# One wheel serves every Python from 3.10 on (abi3). Program and models lie in it as data, so that pip puts them where it
# installs: bin/hpd and share/hpd/models, which is where both the program and the package look.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

profile=${1:-dist}
data=python/hpd.data
case ${OS:-} in Windows_NT) program=hpd.exe ;; *) program=hpd ;; esac
tidy() { rm -rf "$data" python/LICENSE-APACHE python/LICENSE-MIT; }
trap tidy EXIT
tidy
mkdir -p "$data/scripts" "$data/data/share/hpd"

cargo build --locked --profile "$profile" --package hpd-cli
cp "$CARGO_TARGET_DIR/$profile/$program" "$data/scripts/"
cp LICENSE-APACHE LICENSE-MIT python/
cp -R models "$data/data/share/hpd/models"
maturin build --locked --profile "$profile" --manifest-path python/Cargo.toml --out "$CARGO_TARGET_DIR/wheels"
