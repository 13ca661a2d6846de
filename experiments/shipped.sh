#!/bin/sh
# Trains the students in models/ anew, from text whose licences allow it (models/NOTICE lists them).
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR WORDNET=sentences.txt MADE=DIR OUTPUT=DIR \
#     experiments/shipped.sh [quality] [speed] [static]
#
# TEXT holds the lists of sentences named below, one sentence a line; WORDNET is what quickstart.sh takes out of the dictionary;
# MADE is what experiments/training_texts.sh made. Two cores with bfloat16 products need about 10 minutes for the teacher's vectors of each
# stage, which all share, an hour for `quality`, half of one for `speed`, and a few minutes for `static`. An interrupted run goes on
# with the same command.
#
# A student with layers learns in two stages: first from books, documentation and commands, then from text of more kinds, in the same
# space. Those in models/ began their second stage as they had been shipped after the first, in 8 bits.
set -eu

distil() { # NAME FLAGS...
    name=$1
    shift
    "$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" --dim 128 --set max_tokens=128 \
        --output "$OUTPUT/$name" --resume "$@" --sentences \
        "$TEXT/textbooks_openstax_by.txt.gz" "$TEXT/techdocs_open.txt.gz@0.4" "$TEXT/medical_medquad.txt.gz@0.35" \
        "$TEXT/biomedical_covidqa.txt.gz" "$TEXT/literature_standardebooks.txt.gz@0.4" "$TEXT/dialogue_taskmaster4.txt.gz" \
        "$TEXT/commands_intents.txt.gz" "$WORDNET@0.15" "$MADE/passages.jsonl.gz@0.5"
}

go_on() { # NAME RATE
    "$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" --dim 128 --set max_tokens=128 \
        --student "$OUTPUT/$1" --projection "$OUTPUT/$1.run" --recipe hpd --set head.start=own --set loss.relational=0.3 \
        --learning-rate "$2" --output "$OUTPUT/second/$1" --resume --sentences \
        "$MADE/short_texts.txt.gz" "$TEXT/wikipedia_sentences.txt.gz@0.8" "$MADE/abstract_sentences.jsonl.gz@0.7" \
        "$MADE/abstracts.jsonl.gz@0.5" "$MADE/passages.jsonl.gz@0.25" "$TEXT/trivia_opentriviaqa.txt.gz@0.6" \
        "$TEXT/dialogue_sgd.txt.gz@0.15" "$TEXT/commands_intents.txt.gz@0.2" "$TEXT/textbooks_openstax_by.txt.gz@0.2" \
        "$TEXT/medical_medquad.txt.gz@0.15" "$WORDNET@0.05"
    round "$OUTPUT/second/$1"
}

round() { # STUDENT
    rounded="$OUTPUT/int8/$(basename "$1")"
    [ -d "$rounded" ] || "$HPD" export "$1" --int8 --output "$rounded"
}

[ $# -gt 0 ] || set -- quality speed static
for student; do
    case $student in
        quality)
            distil minilm-3x128 --layers 3 --recipe hpd
            go_on minilm-3x128 3e-4
            ;;
        speed)
            distil minilm-1x128 --layers 1 --recipe hpd --epochs 2 --set loss.relational=0.3 --set schedule.learning_rate=1e-3
            go_on minilm-1x128 6e-4
            ;;
        static)
            distil minilm-static-128 --layers 0 --recipe static
            round "$OUTPUT/minilm-static-128"
            ;;
        *) echo "error: there is no student \`$student\`, expected quality, speed or static" >&2; exit 2 ;;
    esac
done
