# shellcheck shell=bash
# What this machine must bring along, and how it gets it. To be sourced after say.sh; `root` is the project.
#
# Each `want_*` looks for the thing itself and notes a package only where it is not there, so that a
# machine that has everything needs neither apt nor root. `install_missing` then installs what was noted.

missing=()

# want PACKAGE CHECK [ARGUMENTS...]: notes the package if the check fails.
want() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

has() { command -v "$1"; }

# Whether a program that includes HEADER and is linked with LIBRARY can be built.
links() {
    local header=$1 library=$2
    printf '#include <%s>\nint main(void) { return 0; }\n' "$header" |
        cc -x c -o /dev/null - "-l$library"
}

# The places where `siegel init` looks.
has_softhsm() {
    local place
    for place in /usr/lib/softhsm /usr/lib64/softhsm /usr/lib64/pkcs11 \
        /usr/lib/x86_64-linux-gnu/softhsm /usr/lib/aarch64-linux-gnu/softhsm /usr/local/lib/softhsm; do
        [ -e "$place/libsofthsm2.so" ] && return 0
    done
    return 1
}

# place_of NAME: prints where this machine has something of the list in scripts/lib/places. The tests look by the
# same list.
place_of() {
    local name pattern found
    while read -r name pattern; do
        [ "$name" = "$1" ] || continue
        case $pattern in
            */*) found=$(compgen -G "$pattern" | sort -V | tail -n 1) || true ;;
            *) found=$(command -v "$pattern") || true ;;
        esac
        if [ -n "$found" ] && [ -e "$found" ]; then
            printf '%s\n' "$found"
            return 0
        fi
    done <"${root:?}/scripts/lib/places"
    return 1
}

# To build the server.
want_build_tools() {
    want build-essential has cc
    want build-essential has make
    want pkg-config has pkg-config
    want libssl-dev links openssl/ssl.h ssl
    want libpq-dev links stddef.h pq
}

# To run it.
want_softhsm() { want softhsm2 has_softhsm; }

# To make clocks wrong, to put a token behind a link, and to keep servers on a leash.
want_chaos_tools() {
    want faketime place_of faketime
    want p11-kit has p11-kit
    want p11-kit place_of p11-kit-server
    want p11-kit-modules place_of p11-kit-client
    want util-linux has setpriv
}

# as_root COMMAND [ARGUMENTS...]
as_root() {
    local front=()
    if [ "$(id -u)" -ne 0 ]; then
        has sudo >/dev/null || fail "needs root to run: $*"
        front=(sudo)
    fi
    # env, because sudo does not pass variables on. Standard output is not for packages.
    "${front[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >&2
}

update_package_lists() {
    # Old lists may still do; if they do not, the installation says so.
    as_root apt-get update -qq || say "the package lists could not be brought up to date"
}

install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    if ! has apt-get >/dev/null; then
        fail "missing on this machine, please install: ${missing[*]} (names of Debian's packages)"
    fi
    say "installing packages: ${missing[*]}"
    update_package_lists
    as_root apt-get install -y -qq --no-install-recommends "${missing[@]}" ||
        fail "the packages could not be installed: ${missing[*]}"
    missing=()
}

# Debian makes a cluster of the system's own as soon as the server is installed; the tests need none.
install_without_system_cluster() {
    local setting=/etc/postgresql-common/createcluster.conf made=
    if ! place_of postgres >/dev/null && has apt-get >/dev/null && [ ! -e "$setting" ]; then
        made=yes
        # shellcheck disable=SC2016 # $1 is for the inner shell.
        as_root sh -c 'mkdir -p "${1%/*}" && echo "create_main_cluster = false" >"$1"' sh "$setting"
    fi
    install_missing
    [ -z "$made" ] || as_root rm -f "$setting"
}
