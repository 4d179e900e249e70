# SPDX-License-Identifier: Apache-2.0
#
# text.awk - measures sources and prints what is over the house's limits, the
# kind of rule named by -v rule=:
#
#   length   functions over 70 lines, files over 800, lines over 88 columns
#   blanks   tabs and trailing blanks
#   head     the licence line, then a comment that says what the file is for
#   calls    what libraries leave to programs: ending, printing, environment;
#            -v allow=FILE lists exceptions, each of which must be needed

function complain(text)
{
    print FILENAME ":" FNR ": " text
}

# Bytes less those that continue a UTF-8 character.
function columns(text)
{
    gsub(/[\200-\277]/, "", text)
    return length(text)
}

# The line without comments and the contents of literals.
function code(text)
{
    gsub(/"([^"\\]|\\.)*"/, "\"\"", text)
    gsub(/'([^'\\]|\\.)+'/, "' '", text)
    gsub(/\/\*([^*]|\*[^\/])*\*\//, " ", text)
    if (in_comment && !sub(/^.*\*\//, "", text))
        return ""
    in_comment = sub(/\/\*.*/, "", text)
    sub(/\/\/.*/, "", text)
    return text
}

function check_length()
{
    if (columns($0) > 88)
        complain(columns($0) " columns, at most 88 are allowed")
    if (FNR == 801)
        complain("more than 800 lines; split the file by noun")
    if (FILENAME !~ /\.([ch]|cu|cc)$/)
        return
    if ($0 == "{")
        open = FNR
    if ($0 == "}" && open) {
        if (FNR - open - 1 > 70)
            complain("a function of " (FNR - open - 1) " lines ends, at most 70")
        open = 0
    }
}

function check_head(    first)
{
    first = $0 ~ /^#!/ || $0 ~ /^<!--$/
    if (FNR == 1)
        offset = first
    if (FNR == 1 + offset && $0 !~ /SPDX-License-Identifier: Apache-2\.0( \*\/)?$/)
        complain("no SPDX line")
    if (FNR == 3 + offset && FILENAME ~ /\.([ch]|cu|cc)$/ && $0 !~ /^ \* [^ ]/)
        complain("no comment that says what the file is for")
    if (FNR == 3 + offset && FILENAME !~ /\.([ch]|cu|cc)$/ &&
        $0 !~ /^(#|\/\/|dnl) [^ ]/)
        complain("no comment that says what the file is for")
}

function check_calls(    text, call)
{
    text = code($0)
    while (match(text, forbidden)) {
        call = substr(text, RSTART, RLENGTH)
        gsub(/[^a-z_]/, "", call)
        text = substr(text, RSTART + RLENGTH)
        if ((FILENAME " " call) in allowed)
            used[FILENAME " " call] = 1
        else
            complain("a library does not " call "()")
    }
    if (text ~ /(^|[^A-Za-z0-9_])(stdout|stderr)([^A-Za-z0-9_]|$)/) {
        if ((FILENAME " print") in allowed)
            used[FILENAME " print"] = 1
        else
            complain("a library does not print")
    }
}

BEGIN {
    names = "exit|_exit|_Exit|quick_exit|abort|getenv|secure_getenv|setenv|" \
            "printf|vprintf|puts|putchar|perror|system|popen"
    forbidden = "(^|[^A-Za-z0-9_.>])(" names ")[ ]*[(]"
    while (allow && (getline line < allow) > 0)
        if (line !~ /^#|^$/)
            allowed[line] = 1
}

FNR == 1 { in_comment = 0; open = 0; offset = 0 }
rule == "length" { check_length() }
rule == "blanks" && /\t/ { complain("a tab") }
rule == "blanks" && /[ \t\r]$/ { complain("blanks at the end of the line") }
rule == "head" && FNR <= 4 { check_head() }
rule == "calls" { check_calls() }

END {
    for (a in allowed)
        if (!(a in used))
            print allow ": \"" a "\" is not needed any more; remove it"
}
