# Turns WordNet's data files into what the quickstart needs. Plain POSIX awk:
#
#   LC_ALL=C awk -v out=DIR -f scripts/wordnet.awk data.noun data.verb data.adj data.adv
#
# With `-v keep_every=20 -v keep_words="arachnophobia synonym"` every twentieth sense and those words are
# kept, which is a dictionary small enough to test with.
#
# DIR/definitions.jsonl        one record a sense: id, text (the definition), words, part_of_speech
# DIR/sentences.txt            what the student is trained on: definitions, usage examples and dictionary
#                              entries ("hug, squeeze: a kind of clasp"), without the held-back definitions
# DIR/sample.txt               some 9,000 of the sentences, evenly spread, to fit the teacher's PCA on
# DIR/held-back.txt            500 definitions that are in no other text, spread evenly over the dictionary
# DIR/retrieval/reverse-dictionary/  the same 500 as a retrieval set in BEIR's shape: the query is a held-back
#                              definition, the documents are dictionary entries, the right one is its own
#
# A line of a data file: offset, file number, part of speech, number of words (hexadecimal), the words each
# with a sense number, number of pointers (decimal), the pointers as symbol, offset, part of speech and a
# number, then ` | ` and the gloss: the definition, then `; "example"` as often as there are examples.

BEGIN {
    held_back = 500
    entry_step = 10
    if (!keep_every) keep_every = 1
    count = split(keep_words, list, " ")
    for (i = 1; i <= count; i++) keep_word[list[i]] = 1
    split("noun verb adjective adverb", names, " ")
    part_of_speech["n"] = names[1]; part_of_speech["v"] = names[2]
    part_of_speech["a"] = part_of_speech["s"] = names[3]; part_of_speech["r"] = names[4]
    hex = "0123456789abcdef"
}

/^  / { next } # the licence

{
    gloss = substr($0, index($0, " | ") + 3)
    gsub(/^ +| +$/, "", gloss)
    first_word[synset($1, $3)] = plain_word($5)
    if (++senses % keep_every && !(plain_word($5) in keep_word)) next
    n++
    pos[n] = $3
    word_count = 16 * digit($4, 1) + digit($4, 2)
    words[n] = ""
    for (i = 0; i < word_count; i++) words[n] = words[n] (i ? "\t" : "") plain_word($(5 + 2 * i))
    link_to_neighbour(5 + 2 * word_count)
    split_gloss(gloss)
}

END {
    choose_held_back()
    write_definitions()
    write_sentences()
    write_task()
}

# Satellite adjectives ("s") lie in the file of the adjectives, and pointers to them say "a" or "s".
function synset(offset, kind) { return (kind == "s" ? "a" : kind) offset }

function digit(number, place) { return index(hex, substr(number, place, 1)) - 1 }

# `galore(ip)` is `galore`, which must follow its noun; `fear_of_flying` has blanks.
function plain_word(word) {
    sub(/\([a-z]+\)$/, "", word)
    gsub(/_/, " ", word)
    return word
}

# The first hypernym (`@`, of an instance `@i`), or the adjective that a satellite is similar to (`&`).
function link_to_neighbour(field,    i, last) {
    last = field + 4 * $field
    for (i = field + 1; i < last; i += 4) {
        if ($i !~ /^(@i?|&)$/) continue
        relation[n] = $i == "&" ? "similar to" : "a kind of"
        neighbour[n] = synset($(i + 1), $(i + 2))
        return
    }
}

# Quotation marks elsewhere are part of the definition.
function split_gloss(gloss,    at, parts, count, i) {
    at = match(gloss, /; *"/)
    definition[n] = at ? substr(gloss, 1, at - 1) : gloss
    examples[n] = ""
    if (!at) return
    count = split(substr(gloss, at), parts, "\"")
    for (i = 2; i <= count; i += 2)
        if (parts[i] ~ / .* /) examples[n] = examples[n] parts[i] "\n"
}

# Every so many of the senses whose definition has at least four words.
function choose_held_back(    i, eligible, step, seen, parts) {
    for (i = 1; i <= n; i++) eligible += split(definition[i], parts, " ") >= 4
    step = int(eligible / held_back)
    for (i = 1; i <= n; i++) {
        if (split(definition[i], parts, " ") < 4) continue
        if (++seen % step || held_count == held_back) continue
        held[++held_count] = i
        is_held[i] = 1
        held_text[definition[i]] = 1
    }
}

# The glosses are ASCII without a backslash, so quotation marks are all there is to escape.
function json(text) {
    gsub(/"/, "\\\\&", text)
    return "\"" text "\""
}

function json_words(list,    parts, count, i, text) {
    count = split(list, parts, "\t")
    for (i = 1; i <= count; i++) text = text (i > 1 ? "," : "") json(parts[i])
    return "[" text "]"
}

function write_definitions(    i, parts, file) {
    file = out "/definitions.jsonl"
    for (i = 1; i <= n; i++) {
        split(words[i], parts, "\t")
        id[i] = parts[1] (used[parts[1]]++ ? "-" used[parts[1]] : "")
        printf "{\"id\":%s,\"text\":%s,\"words\":%s,\"part_of_speech\":\"%s\"}\n", json(id[i]),
            json(definition[i]), json_words(words[i]), part_of_speech[pos[i]] > file
    }
    close(file)
}

# The dictionary entry without its definition: "hug, squeeze: a kind of clasp".
function entry(i,    text) {
    text = words[i]
    gsub(/\t/, ", ", text)
    return i in neighbour ? text ": " relation[i] " " first_word[neighbour[i]] : text
}

function write_sentences(    i, file, sample, step) {
    file = out "/sentences.txt"
    sample = out "/sample.txt"
    step = int(n / 4500) + 1
    for (i = 1; i <= n; i++) {
        printf "%s", examples[i] > file
        print entry(i) > file
        if (definition[i] in held_text) continue
        print definition[i] > file
        if (i % step == 0) print definition[i] "\n" entry(i) > sample
    }
    close(file)
    close(sample)
    file = out "/held-back.txt"
    for (i = 1; i <= held_count; i++) print definition[held[i]] > file
    close(file)
}

# The corpus is every tenth entry and the 500 right ones.
function write_task(    i, folder) {
    folder = out "/retrieval/reverse-dictionary"
    for (i = 1; i <= n; i++)
        if (i % entry_step == 0 || is_held[i])
            printf "{\"_id\":%s,\"text\":%s}\n", json(id[i]), json(entry(i)) > (folder "/corpus.jsonl")
    print "query-id\tcorpus-id\tscore" > (folder "/qrels/test.tsv")
    for (i = 1; i <= held_count; i++) {
        printf "{\"_id\":\"q%d\",\"text\":%s}\n", i, json(definition[held[i]]) > (folder "/queries.jsonl")
        printf "q%d\t%s\t1\n", i, id[held[i]] > (folder "/qrels/test.tsv")
    }
}
