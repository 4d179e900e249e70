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

# The book's text: the first 600 pairs, marks apart from words.  Nats are of the whole
# text by the model as it is then, and of the last epoch of training, where dropout is
# at more places than in the book.
fra_eng()
{
    local job=$1 least=$2 most=$3 exact nll with
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
    cut -f 1 "$dir/pairs.tsv" >"$dir/all.source"
    cut -f 2 "$dir/pairs.tsv" >"$dir/all.target"
    nll=$("$nnctl" eval "$dir/job" --source "$dir/all.source" --threads "$threads" \
        --reference "$dir/all.target" | awk '$1 == "perplexity" { print log($2) }')
    nll=$(printf '%.3f' "$nll")
    exact=$(paste "$dir/reference" "$dir/written" | awk -F '\t' '$1 == $2' | wc -l)
    with=$(printf '%.3f' "$(mean loss 10)")
    result "$exact of 4 sentences, $nll nats per word ($with with dropout)" \
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

# --- Multi30k, English to German ----------------------------------------------

# multi30k JOB OPTION...: train, and have the validation sources translated by the mean
# of the last checkpoints, which is job/mean, with a beam of 5; the score is in $bleu.
multi30k()
{
    local job=$1 f
    shift
    for f in train.en train.de val.en val.de; do
        text multi30k/$f.gz
        gzip -dc "$data/multi30k/$f.gz" >"$dir/$f" || die "$f.gz: cannot be read"
    done
    train "$job" -S data.source="$dir/train.en" -S data.train="$dir/train.de" \
        -S data.valid_source="$dir/val.en" -S data.valid="$dir/val.de" "$@"
    rm -rf "$dir/mean"
    "$nnctl" average "$dir/job" "$dir/mean" --last 3 >"$dir/average" &&
        "$nnctl" translate "$dir/mean" "$dir/val.en" --beam 5 --threads "$threads" \
            >"$dir/written" &&
        "$nnctl" eval --text "$dir/written" --reference "$dir/val.de" >"$dir/score" ||
        die "$row with seed $seed: no score"
    bleu=$(awk '$1 == "bleu" { printf "%.2f", $2 }' "$dir/score")
    echo "$bleu" >"$dir/bleu"
}

# above OTHER: the result, which has to be above that of another row with this seed.
above()
{
    local other
    other=$(cat "$out/$1-$seed/bleu" 2>/dev/null) ||
        die "$row wants $1 with seed $seed beforehand, in the same -o DIR"
    result "BLEU $bleu" "above $1, $other" "$bleu > $other"
}

row_multi30k_lstm()
{
    multi30k multi30k-cells -S model.cell=lstm
    result "BLEU $bleu" "above 0" "$bleu > 0"
}

row_multi30k_gru()
{
    multi30k multi30k-cells
    above multi30k-lstm
}

row_multi30k_attention()
{
    multi30k multi30k-cells -S model.attention=additive -S model.bidirectional=true
    above multi30k-gru
}

row_multi30k_transformer()
{
    multi30k multi30k
    result "BLEU $bleu" "at least 36" "$bleu >= 36"
}

# BLEU by the length of the source, with a look at the source and without: the picture
# and its numbers are DIR/by-length.svg and .json.
row_multi30k_lengths()
{
    local kind format
    for kind in transformer attention gru lstm; do
        cp "$out/multi30k-$kind-$seed/written" "$dir/$kind" ||
            die "$row wants multi30k-$kind with seed $seed beforehand"
    done
    for format in svg json; do
        (cd "$dir" && gzip -dc "$data/multi30k/val.en.gz" >val.en &&
            gzip -dc "$data/multi30k/val.de.gz" >val.de &&
            "$nnctl" eval --text transformer --source val.en --reference val.de \
                --by-length by-length.$format --beside attention --beside gru \
                --beside lstm) || die "no figure"
    done
}

# --- held to PyTorch ----------------------------------------------------------

# torch SCRIPT ARGUMENT...: the same model by PyTorch, or what is left of it; what it
# prints is in $dir/torch.
torch()
{
    local script=$1
    shift
    [ -s "$dir/torch" ] && return
    "${PYTHON:-python3}" "$here/results/$script" "$(manifest)" "$seed" "$threads" \
        "$dir/torch.kept" "$@" >"$dir/torch.part" 2>>"$dir/torch.log" || {
        tail -n 5 "$dir/torch.log" >&2
        die "$row: PYTHON, ${PYTHON:-python3}, has no PyTorch, or failed"
    }
    mv "$dir/torch.part" "$dir/torch"
}

manifest()
{
    ls "$dir"/job/checkpoints/step-*/manifest.json | tail -n 1
}

least_loss()
{
    metric val_loss "$metrics" | sort -g | head -n 1
}

row_wikitext_lstm()
{
    local side ours theirs
    for side in train valid; do
        text wikitext-2/$side.txt.gz
        gzip -dc "$data/wikitext-2/$side.txt.gz" >"$dir/$side.txt" ||
            die "wikitext-2/$side.txt.gz: cannot be read"
    done
    train wikitext-2 -S data.train="$dir/train.txt" -S data.valid="$dir/valid.txt"
    torch torch_lm.py "$dir/train.txt" "$dir/valid.txt"
    ours=$(least_loss | awk '{ printf "%.2f", exp($1) }')
    theirs=$(awk '{ printf "%.2f", exp($1) }' "$dir/torch")
    result "perplexity $ours" "at most 1 % above PyTorch's $theirs" \
        "$ours <= 1.01 * $theirs"
}

# pairs SOURCE TARGET NTH: split the columns of standard input, one line of NTH for
# validation: $dir/train.tsv, valid.tsv, and each side of both beside them.
pairs()
{
    local part
    awk -F '\t' -v OFS='\t' -v s="$1" -v t="$2" -v nth="$3" -v dir="$dir" '
        { print $s, $t >(dir (NR % nth ? "/train.tsv" : "/valid.tsv")) }'
    for part in train valid; do
        cut -f 1 "$dir/$part.tsv" >"$dir/$part.text.source"
        cut -f 2 "$dir/$part.tsv" >"$dir/$part.text.target"
    done
}

# What nnd's tokenizers make of these, for PyTorch.
ids()
{
    local part
    for part in train valid; do
        "$nnctl" tokenizer encode --source "$dir/job" "$dir/$part.text.source" \
            >"$dir/$part.source" &&
            "$nnctl" tokenizer encode "$dir/job" "$dir/$part.text.target" \
                >"$dir/$part.target" || die "no ids of $part"
    done
}

# score FILE WORDS METRIC: of texts beside the validation targets.
score()
{
    "$nnctl" eval --text "$1" --reference "$dir/valid.text.target" --words "$2" |
        awk -v metric="$3" '$1 == metric { printf "%.2f", $2 }'
}

row_zh_en()
{
    local ours theirs
    text cmn-eng/train.tsv
    pairs 2 1 25 <"$data/cmn-eng/train.tsv"
    train zh-en -S data.train="$dir/train.tsv" -S data.valid="$dir/valid.tsv"
    ids
    torch torch_pairs.py "$dir/train" "$dir/valid" "$dir/torch.ids"
    "$nnctl" translate --best "$dir/job" "$dir/valid.text.source" >"$dir/written" &&
        "$nnctl" tokenizer decode "$dir/job" "$dir/torch.ids" >"$dir/torch.written" ||
        die "nothing was written"
    ours=$(score "$dir/written" 13a bleu)
    theirs=$(score "$dir/torch.written" 13a bleu)
    result "BLEU $ours" "PyTorch's $theirs less 0.5" "$ours >= $theirs - 0.5"
}

# summaries JOB WORDS STEPS END: beside the first sentence of each text, which ends with
# the pattern END.
summaries()
{
    local job=$1 words=$2 steps=$3 end=$4 ours theirs mine lead
    train "../../examples/$job" -S data.train="$dir/train.tsv" -S data.columns=[1,2] \
        -S data.valid="$dir/valid.tsv" -S data.valid_fraction=0 \
        -S train.steps="$steps" -S train.chunks=1
    ids
    torch torch_pairs.py "$dir/train" "$dir/valid"
    sed "s/$end.*//" "$dir/valid.text.source" >"$dir/lead"
    "$nnctl" summarize --best "$dir/job" "$dir/valid.text.source" >"$dir/written" ||
        die "nothing was written"
    mine="$(score "$dir/written" "$words" rouge-1)/$(score "$dir/written" "$words" \
        rouge-2)/$(score "$dir/written" "$words" rouge-l)"
    lead="$(score "$dir/lead" "$words" rouge-1)/$(score "$dir/lead" "$words" \
        rouge-2)/$(score "$dir/lead" "$words" rouge-l)"
    ours=$(least_loss | awk '{ printf "%.4f", $1 }')
    theirs=$(<"$dir/torch")
    result "$ours nats per token; ROUGE-1/2/L $mine, of first sentences $lead" \
        "at most 1 % above PyTorch's $theirs" "$ours <= 1.01 * $theirs"
}

row_summarize_zh()
{
    text summarization/csl/dev.tsv
    pairs 2 3 10 <"$data/summarization/csl/dev.tsv"
    summaries summarize-zh zh 1000 '[。；！？]'
}

row_summarize_en()
{
    text summarization/scitldr/train.tsv
    pairs 1 2 10 <"$data/summarization/scitldr/train.tsv"
    summaries summarize-en 13a 1500 '[.] '
}
