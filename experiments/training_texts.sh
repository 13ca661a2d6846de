#!/bin/sh
# Makes the passages and short texts that the students in models/ learn from beside the lists of sentences: books, documentation and
# abstracts whose licences allow it (models/NOTICE lists them), each at the commit where the licence still did.
#
#   CLONES=DIR EVALUATION=DIR OUTPUT=DIR experiments/training_texts.sh
#
# CLONES holds clones of the repositories below and in short_texts.py by their names; EVALUATION the sets whose texts are left out, as sts/ and retrieval/.
# About ten minutes.
set -eu
[ -d "$CLONES" ] || { echo "error: CLONES is \`$CLONES\`, expected a folder of clones" >&2; exit 2; }

passages() { # NAME FLAGS... -- REPOSITORY@COMMIT...
    output="$OUTPUT/$1"
    shift
    [ -f "$output" ] || python3 "$here/passages.py" --output "$output" \
        --exclude "$EVALUATION"/sts/*.tsv.gz "$EVALUATION"/retrieval/*/*.jsonl.gz "$@"
}

mkdir -p "$OUTPUT"
here=$(realpath "$(dirname "$0")")
EVALUATION=$(realpath "$EVALUATION")
OUTPUT=$(realpath "$OUTPUT")
cd "$CLONES"
passages passages.jsonl.gz --limit 15000 -- \
    osbooks-american-government@37ee81a~1 osbooks-college-success@HEAD osbooks-introduction-anthropology@HEAD \
    osbooks-introduction-intellectual-property@HEAD osbooks-introductory-statistics-bundle@592cff1~1 osbooks-microbiology@f1d8d4e~1 \
    osbooks-principles-economics-bundle@HEAD osbooks-world-history@b2ddac6~1 \
    MedQuAD@HEAD peps@HEAD book@HEAD PowerShell-Docs@HEAD \
    charles-darwin_the-origin-of-species@HEAD adam-smith_the-wealth-of-nations@HEAD john-stuart-mill_on-liberty@HEAD
# Titles and abstracts of arXiv are CC0 1.0: passages of them, and single sentences.
passages abstracts.jsonl.gz --limit 60000 -- arxiv_archive@HEAD:processed_data/20200101/per_category
passages abstract_sentences.jsonl.gz --min-words 8 --max-words 9 --limit 60000 -- arxiv_archive@HEAD:processed_data/20200101/per_category
# Captions, pairs of inference and questions.
[ -f "$OUTPUT/short_texts.txt.gz" ] || python3 "$here/short_texts.py" --clones . --output "$OUTPUT/short_texts.txt.gz" \
    --exclude "$EVALUATION"/sts/*_test.tsv.gz "$EVALUATION"/sts/stsb_dev.tsv.gz "$EVALUATION"/sts/sickr_trial.tsv.gz "$EVALUATION"/retrieval/*/*.jsonl.gz
