#!/bin/sh
# As mixed.sh, over other draws of the same kinds of text and with larger shares of what is long: a fifth are abstracts and passages. What comes out must not
# be shipped either. Students that mixed.sh left go on, and the mean of both is taken; see "Means" in README.md.
#
#   HPD=target/release/hpd TEACHER=all-MiniLM-L6-v2 TEXT=DIR WORDNET=sentences.txt MADE=DIR MORE=DIR PROJECTION=static.run OUTPUT=DIR \
#     experiments/longer.sh NAME RATE SEED SENTENCES --student STUDENT
#
# MORE holds abstracts.jsonl.gz and abstract_sentences.jsonl.gz as training_texts.sh makes them, but with limits of 200000 and 120000. What follows SENTENCES
# goes to `hpd distill`. An interrupted run goes on with the same command.
set -eu
[ $# -ge 4 ] || { echo "error: expected name, rate, seed and number of sentences, for example minilm-2x128 4e-4 5 230000" >&2; exit 2; }
name=$1
rate=$2
seed=$3
limit=$4
shift 4

"$HPD" distill --teacher "$TEACHER" --teacher-arithmetic int8 --teacher-cache "$OUTPUT/teacher" \
    --projection "$PROJECTION" --dim 128 --set max_tokens=128 --set loss.relational=0.3 \
    --learning-rate "$rate" --limit "$limit" --seed "$seed" --output "$OUTPUT/$name" --resume "$@" --sentences \
    "$TEXT/nli_sentences.txt.gz@0.3" "$TEXT/captions_flickr30k_coco.txt.gz@0.15" "$TEXT/quora_questions.txt.gz@0.5" "$TEXT/questions_factoid.txt.gz@0.25" \
    "$TEXT/headlines_clickbait.txt.gz@0.3" "$TEXT/wikipedia_sentences.txt.gz@0.25" "$TEXT/web_queries.txt.gz@0.1" "$TEXT/misc_research.txt.gz@0.1" \
    "$TEXT/tweets_tweeteval.txt.gz@0.05" "$TEXT/science_ml_papers.txt.gz@0.02" "$TEXT/medical_medquad.txt.gz@0.02" "$TEXT/jeopardy_clues.txt.gz@0.02" \
    "$TEXT/textbooks_openstax_by.txt.gz@0.03" "$WORDNET@0.02" "$MORE/abstracts.jsonl.gz@0.17" "$MADE/passages.jsonl.gz@0.1" "$MORE/abstract_sentences.jsonl.gz@0.12"
