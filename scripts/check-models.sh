#!/bin/sh
# Whether every file of the shipped models is the one that was meant: models/SHA256SUMS lists all files in their folders.
#
#   scripts/check-models.sh           compares
#   scripts/check-models.sh --write   writes the list, after a model has changed
set -eu
cd "$(dirname "$0")/../models"
export LC_ALL=C

sums() {
    find . -mindepth 2 -type f | sed 's|^\./||' | sort | while IFS= read -r file; do
        if command -v sha256sum > /dev/null; then sha256sum "$file"; else shasum -a 256 "$file"; fi
    done
}

if [ "${1:-}" = --write ]; then
    sums > SHA256SUMS
    exit
fi
if ! sums | diff SHA256SUMS - >&2; then
    echo "error: the files in models/ are not those of models/SHA256SUMS (<), but others (>)" >&2
    echo "hint: if that is meant, scripts/check-models.sh --write" >&2
    exit 1
fi
echo "$(wc -l < SHA256SUMS) files of shipped models are as they should be"
