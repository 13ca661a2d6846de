#!/bin/sh
# A further stage for a student that comes with hpd: an epoch over text of many kinds, in the same space. Its licences do not allow to ship what comes
# out; it shows what such text is worth.
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR WORDNET=sentences.txt MADE=DIR STUDENT=DIR PROJECTION=static.run OUTPUT=DIR \
#     experiments/mixed.sh NAME RATE [--keep-layers I,J]
#
# TEXT holds the lists of sentences named below, MADE is what experiments/training_texts.sh made, STUDENT a float folder and PROJECTION the run of the static
# student that experiments/shipped.sh left; what follows NAME and RATE goes to `hpd distill`. The teacher's vectors, which all students share, take two cores of
# a Xeon without bfloat16 six minutes, three layers twenty to twenty-six. An interrupted run goes on with the same command.
#
#   mixed.sh minilm-3x128 3e-4, then again from its student: mixed.sh minilm-3x128-again 2.5e-4
#   mixed.sh minilm-2x128 6e-4 --keep-layers 0,2, from the student of three layers that shipped.sh left
#   mixed.sh minilm-1x128 5e-4
set -eu
[ $# -ge 2 ] || { echo "error: expected the name of the student and its rate, for example minilm-3x128 3e-4" >&2; exit 2; }
name=$1
rate=$2
shift 2

"$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" \
    --student "$STUDENT" --projection "$PROJECTION" --recipe hpd --set head.start=own --dim 128 --set max_tokens=128 \
    --set loss.relational=0.3 --learning-rate "$rate" --limit 330000 --seed 2 --output "$OUTPUT/$name" --resume "$@" --sentences \
    "$TEXT/nli_sentences.txt.gz" "$TEXT/captions_flickr30k_coco.txt.gz@0.5" "$TEXT/quora_questions.txt.gz" "$TEXT/questions_factoid.txt.gz@0.6" \
    "$TEXT/headlines_clickbait.txt.gz" "$TEXT/wikipedia_sentences.txt.gz@0.6" "$TEXT/web_queries.txt.gz@0.3" "$TEXT/misc_research.txt.gz@0.3" \
    "$TEXT/tweets_tweeteval.txt.gz@0.2" "$TEXT/dialogue_sgd.txt.gz@0.1" "$TEXT/reviews_movies.txt.gz@0.1" "$TEXT/science_ml_papers.txt.gz@0.05" \
    "$TEXT/literature_standardebooks.txt.gz@0.1" "$TEXT/medical_medquad.txt.gz@0.05" "$TEXT/jeopardy_clues.txt.gz@0.05" \
    "$TEXT/textbooks_openstax_by.txt.gz@0.1" "$WORDNET@0.1" "$MADE/abstracts.jsonl.gz@0.6" "$MADE/passages.jsonl.gz@0.15" "$MADE/abstract_sentences.jsonl.gz@0.2"
[ -d "$OUTPUT/$name-int8" ] || "$HPD" export "$OUTPUT/$name" --int8 --output "$OUTPUT/$name-int8"
