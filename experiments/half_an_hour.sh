#!/bin/sh
# From text to a student of three layers in 8 bits, in half an hour on two cores: the teacher's vectors, the projection, the training and the export.
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR OUTPUT=DIR experiments/half_an_hour.sh
#
# TEXT holds the lists of sentences named below. Most are short, as what people compare is; licences of some do not allow to ship what comes
# out. An interrupted run goes on with the same command.
set -eu

"$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --dim 128 --layers 3 --recipe hpd --set loss.relational=0.3 \
    --limit 315000 --output "$OUTPUT/student" --resume --sentences \
    "$TEXT/nli_sentences.txt.gz@0.8" "$TEXT/captions_flickr30k_coco.txt.gz@0.4" "$TEXT/quora_questions.txt.gz" \
    "$TEXT/questions_factoid.txt.gz@0.4" "$TEXT/headlines_clickbait.txt.gz@0.8" "$TEXT/wikipedia_sentences.txt.gz@0.3" \
    "$TEXT/web_queries.txt.gz@0.3" "$TEXT/misc_research.txt.gz@0.3" "$TEXT/tweets_tweeteval.txt.gz@0.2" "$TEXT/dialogue_sgd.txt.gz@0.1"
[ -d "$OUTPUT/student-int8" ] || "$HPD" export "$OUTPUT/student" --int8 --output "$OUTPUT/student-int8"
