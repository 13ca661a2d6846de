#!/bin/sh
# Builds what people download: target/package/hpd-VERSION-TARGET.tar.gz (.zip on Windows) and its SHA-256.
#
#   scripts/package.sh [TARGET]     TARGET is only a name in the file's name; default: this machine's
set -eu
cd "$(dirname "$0")/.."

target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=hpd-$version-$target
folder=target/package/$name
case $target in *windows*) binary=hpd.exe ;; *) binary=hpd ;; esac

cargo build --locked --profile dist --package hpd-cli
rm -rf "$folder"
mkdir -p "$folder/completions" "$folder/man"
cp "${CARGO_TARGET_DIR:-target}/dist/$binary" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$folder"
# Beside the binary, where it looks for them; their own licence and notice are in it.
cp -R models "$folder"
for shell in bash elvish fish powershell zsh; do
    "$folder/$binary" completions "$shell" > "$folder/completions/hpd.$shell"
done
"$folder/$binary" man --output "$folder/man"

cd target/package
case $target in
    *windows*) archive=$name.zip && 7z a -bso0 "$archive" "$name" ;;
    *) archive=$name.tar.gz && tar -czf "$archive" "$name" ;;
esac
rm -r "$name"
if command -v sha256sum > /dev/null; then sha256sum "$archive"; else shasum -a 256 "$archive"; fi > "$archive.sha256"
echo "target/package/$archive"
