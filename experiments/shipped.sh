#!/bin/sh
# Trains the students in models/ anew, from text whose licences allow it (models/NOTICE lists them).
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR WORDNET=sentences.txt MADE=DIR OUTPUT=DIR \
#     experiments/shipped.sh [static] [quality] [speed]
#
# TEXT holds the lists of sentences named below, one sentence a line; WORDNET is what quickstart.sh takes out of the dictionary;
# MADE is what experiments/training_texts.sh made. Two cores with bfloat16 products need about 10 minutes for the teacher's vectors of each
# stage, which all share, an hour and a half for `quality`, half of one for `speed`, and a few minutes for `static`. An interrupted run goes on
# with the same command.
#
# `static` is trained first: its run holds the projection that gives all three their space. A student with layers learns in three
# stages: from books, documentation and commands, then from text of more kinds, both towards principal components, and last, shortly, with
# that projection for its head and towards it. Those in models/ began their second stage as they had been shipped after the first, in 8 bits.
set -eu

hpd_distill() {
    "$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" --dim 128 --set max_tokens=128 --resume "$@"
}

distil() { # NAME FLAGS...
    name=$1
    shift
    hpd_distill --output "$OUTPUT/$name" --set projection.kind=pca --set center=none "$@" --sentences \
        "$TEXT/textbooks_openstax_by.txt.gz" "$TEXT/techdocs_open.txt.gz@0.4" "$TEXT/medical_medquad.txt.gz@0.35" \
        "$TEXT/biomedical_covidqa.txt.gz" "$TEXT/literature_standardebooks.txt.gz@0.4" "$TEXT/dialogue_taskmaster4.txt.gz" \
        "$TEXT/commands_intents.txt.gz" "$WORDNET@0.15" "$MADE/passages.jsonl.gz@0.5"
}

go_on() { # NAME RATE
    hpd_distill --student "$OUTPUT/$1" --projection "$OUTPUT/$1.run" --recipe hpd --set head.start=own --set loss.relational=0.3 \
        --learning-rate "$2" --output "$OUTPUT/second/$1" --sentences \
        "$MADE/short_texts.txt.gz" "$TEXT/wikipedia_sentences.txt.gz@0.8" "$MADE/abstract_sentences.jsonl.gz@0.7" \
        "$MADE/abstracts.jsonl.gz@0.5" "$MADE/passages.jsonl.gz@0.25" "$TEXT/trivia_opentriviaqa.txt.gz@0.6" \
        "$TEXT/dialogue_sgd.txt.gz@0.15" "$TEXT/commands_intents.txt.gz@0.2" "$TEXT/textbooks_openstax_by.txt.gz@0.2" \
        "$TEXT/medical_medquad.txt.gz@0.15" "$WORDNET@0.05"
}

everything() { # FLAGS...
    hpd_distill "$@" --sentences \
        "$MADE/short_texts.txt.gz" "$TEXT/wikipedia_sentences.txt.gz" "$MADE/abstract_sentences.jsonl.gz" "$MADE/abstracts.jsonl.gz" \
        "$MADE/passages.jsonl.gz@0.7" "$TEXT/trivia_opentriviaqa.txt.gz" "$TEXT/dialogue_sgd.txt.gz@0.3" "$TEXT/commands_intents.txt.gz@0.5" \
        "$TEXT/textbooks_openstax_by.txt.gz@0.6" "$TEXT/medical_medquad.txt.gz@0.4" "$TEXT/techdocs_open.txt.gz@0.2" \
        "$TEXT/literature_standardebooks.txt.gz@0.2" "$WORDNET@0.15"
}

last() { # NAME RATE
    hpd_distill --student "$OUTPUT/second/$1" --projection "$OUTPUT/minilm-static-128.run" --recipe hpd --set head.start=pca --set loss.relational=0.3 \
        --learning-rate "$2" --output "$OUTPUT/last/$1" --sentences \
        "$MADE/short_texts.txt.gz@0.2" "$TEXT/wikipedia_sentences.txt.gz@0.07" "$MADE/abstract_sentences.jsonl.gz@0.05" \
        "$MADE/abstracts.jsonl.gz@0.05" "$MADE/passages.jsonl.gz@0.02" "$TEXT/trivia_opentriviaqa.txt.gz@0.05"
    round "$OUTPUT/last/$1"
}

round() { # STUDENT
    rounded="$OUTPUT/int8/$(basename "$1")"
    [ -d "$rounded" ] || "$HPD" export "$1" --int8 --output "$rounded"
}

[ $# -gt 0 ] || set -- static quality speed
for student; do
    case $student in
        static)
            everything --layers 0 --recipe static --set projection.steps=3000 --output "$OUTPUT/minilm-static-128"
            round "$OUTPUT/minilm-static-128"
            ;;
        quality)
            distil minilm-3x128 --layers 3 --recipe hpd
            go_on minilm-3x128 3e-4
            last minilm-3x128 1e-4
            ;;
        speed)
            distil minilm-1x128 --layers 1 --recipe hpd --epochs 2 --set loss.relational=0.3 --set schedule.learning_rate=1e-3
            go_on minilm-1x128 6e-4
            last minilm-1x128 2e-4
            ;;
        *) echo "error: there is no student \`$student\`, expected static, quality or speed" >&2; exit 2 ;;
    esac
done
