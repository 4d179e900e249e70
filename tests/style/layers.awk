# SPDX-License-Identifier: Apache-2.0
#
# layers.awk - reads the table of layers, then lines FILE:LINE:#include ...,
# and prints those that break the rule named by -v rule=dir or rule=header.

function within(file, place)
{
    return file == place || index(file, place "/") == 1
}

# The most particular directory of the table that holds the file.
function layer_of(file,    d, best)
{
    best = ""
    for (d in allowed)
        if (within(file, d) && length(d) > length(best))
            best = d
    return best
}

# The noun that a quoted header belongs to; "" for a file's own neighbours.
function noun_of(header)
{
    if (header == "proto/job.pb-c.h")
        return "job"
    if (header !~ /\//)
        return ""
    if (header ~ /^plugins\/[^\/]*\//) {
        split(header, part, "/")
        return "plugins/" part[2]
    }
    sub(/\/.*/, "", header)
    return header
}

# A directory's own noun is its last part, or for plugins the whole.
function own_noun(file,    part)
{
    split(file, part, "/")
    return part[1] == "lib" ? part[2] : \
           part[1] == "plugins" ? "plugins/" part[2] : part[1]
}

function check_layer(file, where, noun,    layer)
{
    layer = layer_of(file)
    if (noun == "" || noun == own_noun(file) || allowed[layer] ~ /\*/)
        return
    if (index(allowed[layer] " ", " " noun " ") == 0)
        print where ": " layer " may not include " noun " (tests/style/layers)"
}

function check_header(file, where, header,    h, n, i, place)
{
    for (h in places) {
        if (index(header, h) != 1)
            continue
        n = split(places[h], place, " ")
        for (i = 1; i <= n; i++)
            if (within(file, place[i]))
                return
        print where ": <" header "> belongs to" places[h] " (tests/style/layers)"
    }
}

FILENAME != "-" && /^#|^$/ { next }
FILENAME != "-" {
    line = line $0
    if (sub(/\\$/, "", line))
        next
    n = split(line, word, " ")
    line = ""
    names = ""
    for (i = 3; i <= n; i++)
        names = names " " word[i]
    if (word[1] == "dir")
        allowed[word[2]] = names
    else
        places[word[2]] = names
    next
}

{
    file = $0
    sub(/:.*/, "", file)
    where = $0
    sub(/:[ \t]*#.*/, "", where)
    header = $0
    if (!sub(/^[^#]*#[ \t]*include[ \t]*[<"]/, "", header))
        next
    quoted = $0 ~ /include[ \t]*"/
    sub(/[>"].*/, "", header)
    if (rule == "header")
        check_header(file, where, header)
    else if (quoted || header ~ /^nnd\//)
        check_layer(file, where, quoted ? noun_of(header) : "abi")
}
