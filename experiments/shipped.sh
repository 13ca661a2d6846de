#!/bin/sh
# Trains the students in models/ anew, from text whose licences allow it (models/NOTICE lists them).
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR WORDNET=sentences.txt PASSAGES=passages.jsonl.gz OUTPUT=DIR \
#     experiments/shipped.sh [quality] [speed] [static]
#
# TEXT holds the lists of sentences named below, one sentence a line; WORDNET is what quickstart.sh takes out of the dictionary;
# PASSAGES is made by experiments/passages.py. Two cores with bfloat16 products need about 10 minutes for the teacher's vectors, which
# all share, 30 for `quality` and for `speed`, and a few for `static`. An interrupted run goes on with the same command.
set -eu

distil() { # NAME FLAGS...
    name=$1
    shift
    "$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" --dim 128 --set max_tokens=128 \
        --output "$OUTPUT/$name" --resume "$@" --sentences \
        "$TEXT/textbooks_openstax_by.txt.gz" "$TEXT/techdocs_open.txt.gz@0.4" "$TEXT/medical_medquad.txt.gz@0.35" \
        "$TEXT/biomedical_covidqa.txt.gz" "$TEXT/literature_standardebooks.txt.gz@0.4" "$TEXT/dialogue_taskmaster4.txt.gz" \
        "$TEXT/commands_intents.txt.gz" "$WORDNET@0.15" "$PASSAGES@0.5"
    [ -d "$OUTPUT/int8/$name" ] || "$HPD" export "$OUTPUT/$name" --int8 --output "$OUTPUT/int8/$name"
}

[ $# -gt 0 ] || set -- quality speed static
for student; do
    case $student in
        quality) distil minilm-3x128 --layers 3 --recipe hpd ;;
        speed) distil minilm-1x128 --layers 1 --recipe hpd --epochs 2 --set loss.relational=0.3 --set schedule.learning_rate=1e-3 ;;
        static) distil minilm-static-128 --layers 0 --recipe static ;;
        *) echo "error: there is no student \`$student\`, expected quality, speed or static" >&2; exit 2 ;;
    esac
done
