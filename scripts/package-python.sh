#!/usr/bin/env bash
# Builds the wheel that people install: target/wheels/hpd-VERSION-….whl, with the program `hpd` and the models that come with it.
#
#   scripts/package-python.sh [PROFILE]     cargo's profile; default: dist
#
# One wheel serves every Python from 3.10 on (abi3). Program and models lie in it as data, so that pip puts them where it
# installs: bin/hpd and share/hpd/models, which is where both the program and the package look. Maturin wants such data among
# the sources of every build, so they are packed into its wheel afterwards. Needs `pip install maturin wheel`.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

profile=${1:-dist}
work=$CARGO_TARGET_DIR/python-package
case ${OS:-} in Windows_NT) program=hpd.exe ;; *) program=hpd ;; esac

rm -rf "$work"
trap 'rm -rf "$work" python/LICENSE-APACHE python/LICENSE-MIT' EXIT
cargo build --locked --profile "$profile" --package hpd-cli
cp LICENSE-APACHE LICENSE-MIT python/
maturin build --locked --profile "$profile" --manifest-path python/Cargo.toml --out "$work/bare"

python3 -m wheel unpack --dest "$work" "$work"/bare/hpd-*.whl
folder=$(echo "$work"/hpd-*)
data=$folder/$(basename "$folder").data
mkdir -p "$data/scripts" "$data/data/share/hpd" "$CARGO_TARGET_DIR/wheels"
cp "$CARGO_TARGET_DIR/$profile/$program" "$data/scripts/"
cp -R models "$data/data/share/hpd/models"
python3 -m wheel pack --dest-dir "$CARGO_TARGET_DIR/wheels" "$folder"
