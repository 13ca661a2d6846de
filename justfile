# The verbs of the house. CI runs `just check`; a red step is repeated by hand with its own verb.
# What does real arithmetic is built with the release profile and the whole workspace: one package alone would choose other
# features of the dependencies and compile them, burn above all, a second time. What has other features anyway, the Python
# package and an hpd for searching, is built without optimising: that takes about half as long, and checks overflow too.

# List the verbs
default:
    @just --list --unsorted

# All that must hold before anything lands, cheapest first
check: fmt-check check-models deny lint doc test-bundled test test-emulated quickstart-small test-python test-remote

# Format the code
fmt:
    cargo fmt --all

# Fail where the code is not formatted
fmt-check:
    cargo fmt --all --check

# What the default build leaves out and a machine without a card, driver or toolkit can check: the engines that `hpd push` knows, and
# training on a graphics card by Vulkan
optional := "hpd-cli/postgres,hpd-cli/milvus,hpd-cli/vulkan"

# Clippy, warnings denied
lint:
    cargo clippy --release --locked --workspace --all-targets --features {{optional}} -- --deny warnings

# Documentation, private items and broken links included
doc:
    RUSTDOCFLAGS="--deny warnings --allow rustdoc::private_intra_doc_links" cargo doc --release --locked --workspace --features {{optional}} --no-deps --document-private-items

# Licences, banned crates and sources of every dependency
deny:
    cargo deny --locked check licenses bans sources
    cargo deny --locked --manifest-path python/Cargo.toml --config deny.toml check \
        --allow license-not-encountered --allow license-exception-not-encountered licenses bans sources

# Unit, integration and documentation tests, with cargo-nextest where it is installed
test:
    #!/bin/sh
    set -eu
    if cargo nextest --version > /dev/null 2>&1; then
        cargo nextest run --release --locked --workspace
    else
        cargo test --release --locked --workspace --lib --bins --tests
    fi
    cargo test --release --locked --workspace --doc

# With a tiny model inside the program: an hpd for searching, without training, which `test-remote` takes too
test-bundled:
    HPD_BUNDLED_MODEL="$PWD/fixtures/encoder/bert_mean" cargo test --locked -p hpd-remote -p hpd-cli --no-default-features \
        --features hpd-cli/bundled-model,hpd-cli/postgres,hpd-cli/milvus --test models

# Whether the shipped models are those of their list
check-models:
    scripts/check-models.sh

# Some of them on emulated CPUs without AVX-512 and without AVX; skipped where there is no qemu
test-emulated:
    scripts/test-emulated.sh

# The Python package: format, lints, types and tests, in an environment of its own; skipped where there is no Python for it. After
# `test`, whose hpd some of them run
test-python:
    scripts/test-python.sh

# `hpd push` and `hpd search` against servers of PostgreSQL and Milvus that come as wheels; skipped where they do not install
test-remote:
    scripts/remote-round-trip.sh

# From a fresh clone to a student that finds words by their meaning
quickstart:
    ./quickstart.sh

# The same in two minutes, with the hpd that the tests built, to see that it runs
quickstart-small:
    HPD=target/release/hpd QUICKSTART_SIZE=small ./quickstart.sh

# The binary people download: man pages and completions beside it
release:
    scripts/package.sh

# The wheel people install, with the program and the models in it
wheel:
    scripts/package-python.sh
