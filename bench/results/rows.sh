# SPDX-License-Identifier: Apache-2.0
#
# rows.sh - the rows of doc/results.md, a function each; read by results.sh, not run.
# What a row wants is what was published, with some room for seeds.

# The names of all rows.
rows()
{
    declare -F | sed -n 's/.* row_//p' | tr '_\n' '- '
}

# --- The Time Machine, characters ---------------------------------------------

# The book's text: letters alone, small, lines run together, the first 10,000.
time_machine()
{
    local wanted=$1 ppl
    shift
    text timemachine/timemachine.txt
    LC_ALL=C sed -e 's/[^A-Za-z][^A-Za-z]*/ /g' -e 's/^ //' -e 's/ $//' \
        "$data/timemachine/timemachine.txt" | tr -d '\n' | tr A-Z a-z |
        head -c 10000 >"$dir/text.txt"
    train time-machine -S data.train="$dir/text.txt" "$@"
    ppl=$(mean loss 8 | awk '{ printf "%.3f", exp($1) }')
    result "perplexity $ppl" "at most $wanted" "$ppl <= $wanted"
}

row_rnn_sequential()
{
    time_machine 1.1
}

row_rnn_random()
{
    time_machine 1.6 -S data.sampling=random
}

row_gru()
{
    time_machine 1.15 -S model.cell=gru -S model.width=256
}

row_lstm()
{
    time_machine 1.3 -S model.cell=lstm -S model.width=256
}

# --- English to French, 600 sentences -----------------------------------------

# The book's text: the first 600 pairs, marks apart from words.
fra_eng()
{
    local job=$1 least=$2 most=$3 exact nll
    shift 3
    text fra-eng/fra.head60k.txt
    head -n 600 "$data/fra-eng/fra.head60k.txt" |
        LC_ALL=C sed -e 's/\xe2\x80\xaf/ /g' -e 's/\xc2\xa0/ /g' \
            -e 's/\([^ \t]\)\([,.!?]\)/\1 \2/g' >"$dir/pairs.tsv"
    train "$job" -S data.train="$dir/pairs.tsv" "$@"
    printf '%s\n' 'go .' 'i lost .' "he's calm ." "i'm home ." >"$dir/source"
    printf '%s\n' 'va !' "j'ai perdu ." 'il est calme .' 'je suis chez moi .' \
        >"$dir/reference"
    "$nnctl" translate "$dir/job" "$dir/source" >"$dir/written" ||
        die "$row with seed $seed: nothing was translated"
    exact=$(paste "$dir/reference" "$dir/written" | awk -F '\t' '$1 == $2' | wc -l)
    nll=$(mean loss 10 | awk '{ printf "%.3f", $1 }')
    result "$exact of 4 sentences, $nll nats per word" \
        "$least of 4${most:+, at most $most}" "$exact >= $least && $nll <= ${most:-99}"
}

row_fra_gru()
{
    fra_eng fra-eng 2 0.2
}

row_fra_attention()
{
    fra_eng fra-eng 3 '' -S model.attention=additive -S model.attention_place=before \
        -S train.steps=2500
}

row_fra_transformer()
{
    fra_eng fra-eng-transformer 3 ''
}
