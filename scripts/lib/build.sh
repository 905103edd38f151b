# shellcheck shell=bash
# Building the server. To be sourced after say.sh, packages.sh and rust.sh; `root` is the project.

# Whether something the program is made of is newer than the program.
build_needed() {
    local binary=$1 sources=(src migrations schema Cargo.toml Cargo.lock rust-toolchain.toml .cargo)
    [ -x "$binary" ] || return 0
    [ -n "$(cd "${root:?}" && find "${sources[@]}" -type f \( ! -name '*.md' -o -path 'schema/openapi/*' \) \
        -newer "$binary" -print -quit)" ]
}

# Builds in release mode, if that is needed.
build_release() {
    local binary=$root/target/release/siegel
    build_needed "$binary" || return 0
    want_build_tools
    install_missing
    require_rust
    say "building in release mode; the first time this takes minutes"
    (cd "$root" && cargo build --release --locked --bin siegel --target-dir target >&2) ||
        fail "the server could not be built; see above"
    # cargo leaves a file alone that would come out the same; the next start shall not ask again.
    touch "$binary"
}
