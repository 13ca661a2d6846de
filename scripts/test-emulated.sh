#!/bin/sh
# Tests of kernels and encoder on two emulated CPUs, one without AVX-512 and one without AVX: that no code, a library's
# included, uses instructions that a CPU lacks. `HPD_SIMD` cannot show this, since the CPU still has them.
#
#   scripts/test-emulated.sh
#
# Takes the binaries that `just test` built. Needs qemu-user of qemu 7.2, the first with AVX2, and is skipped without
# it. A small set: sums are many times slower there than on the CPU itself.
set -eu
cd "$(dirname "$0")/.."

main() {
    [ "$(uname -sm)" = "Linux x86_64" ] || skip "it runs x86-64's tests on Linux, and this is $(uname -sm)"
    command -v qemu-x86_64 > /dev/null || skip "no \`qemu-x86_64\`; the package qemu-user has it (apt-get install qemu-user)"
    # The whole workspace, as in `just test`, so that nothing is built again.
    cargo test --release --locked --workspace --lib --test encoder --no-run \
        --message-format=json-render-diagnostics > target/test-binaries.json
    # A whole model, too large for this.
    unset HPD_TEACHER
    kernels=$(binary hpd_kernels)
    encoder=$(binary encoder)
    # The features left out are an operating system's, and qemu would warn of them.
    on Haswell-noTSX,-pcid,-x2apic,-tsc-deadline,-invpcid avx2
    on Nehalem portable
}

skip() {
    echo "skipped: $*"
    exit 0
}

# binary NAME: the path of the tests that were built under this name.
binary() {
    sed -n "s/.*\"executable\":\"\([^\"]*\/$1-[0-9a-f]*\)\".*/\1/p" target/test-binaries.json
}

# on CPU LEVEL: the tests on this CPU, whose best level must be this.
on() {
    cpu=$1
    levels=$(emulated "$kernels" --exact level::tests::every_level_is_found_by_its_name --nocapture)
    level=$(echo "$levels" | sed -n 's/.*level \([a-z0-9]*\)$/\1/p' | tail -n 1)
    if [ "$level" != "$2" ]; then
        echo "error: on an emulated ${cpu%%,*} the best level is \`$level\`, expected \`$2\`" >&2
        echo "hint: qemu must be 7.2 or newer, and this is $(qemu-x86_64 --version | head -n 1)" >&2
        exit 1
    fi
    echo "== emulated ${cpu%%,*}, level $level"
    emulated "$kernels"
    # Those that encode everything several times would take minutes more.
    emulated "$encoder" goldens:: arithmetic:: invariants:: \
        --skip leave_a_trace --skip leaves_no_trace --skip a_text_alone
}

emulated() { qemu-x86_64 -cpu "$cpu" "$@"; }

main
