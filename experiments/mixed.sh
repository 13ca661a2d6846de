#!/bin/sh
# A second stage for a student that comes with hpd: one more epoch over text of many kinds, in the same space. Its licences do
# not allow to ship what comes out; it shows what such text is worth.
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR PASSAGES=passages.jsonl.gz STUDENT=minilm-3x128 OUTPUT=DIR experiments/mixed.sh
#
# STUDENT is a float folder that experiments/shipped.sh made, with STUDENT.run beside it; TEXT holds the lists of sentences named
# below. Two cores with bfloat16 products need about 5 minutes for the teacher's vectors and 16 to 24 for three layers. An
# interrupted run goes on with the same command.
set -eu

"$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" \
    --student "$STUDENT" --projection "$STUDENT.run" --recipe hpd --set head.start=own --dim 128 \
    --set loss.relational=0.3 --learning-rate 3e-4 --output "$OUTPUT/mixed" --resume --sentences \
    "$TEXT/nli_sentences.txt.gz@0.7" "$TEXT/captions_flickr30k_coco.txt.gz@0.25" "$TEXT/quora_questions.txt.gz" \
    "$TEXT/questions_factoid.txt.gz@0.5" "$TEXT/wikipedia_sentences.txt.gz@0.5" "$TEXT/headlines_clickbait.txt.gz@0.8" \
    "$TEXT/web_queries.txt.gz@0.3" "$TEXT/misc_research.txt.gz@0.4" "$TEXT/textbooks_openstax_by.txt.gz@0.2" "$PASSAGES@0.3"
[ -d "$OUTPUT/mixed-int8" ] || "$HPD" export "$OUTPUT/mixed" --int8 --output "$OUTPUT/mixed-int8"
