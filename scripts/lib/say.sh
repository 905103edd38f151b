# shellcheck shell=bash
# Words for people. To be sourced; `program` is the name they see.

program=${0##*/}

# Everything goes to standard error, so that standard output stays what was asked for.
say() { printf '%s: %s\n' "$program" "$*" >&2; }

fail() {
    say "$@"
    exit 1
}

# A wrong command line is told apart from a failure.
misused() {
    say "$@"
    exit 2
}
