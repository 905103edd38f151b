# shellcheck shell=bash
# The Rust toolchain. To be sourced after say.sh; `root` is the folder of the project.

# Fails with advice unless there is a toolchain that is new enough. None is installed here: which one a
# developer has, and where, is theirs to decide.
require_rust() {
    local advice found needed
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "${root:?}/Cargo.toml")
    # rustup puts it there, but only new shells look there.
    if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
        export PATH
    fi
    advice="Rust $needed or newer is needed. Install it with rustup, see https://rustup.rs:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
or, where rustup is there already:
    rustup update stable"
    command -v cargo >/dev/null || fail "there is no cargo on this machine. $advice"
    # In the project's folder, because rust-toolchain.toml decides which one is taken.
    found=$(cd "$root" && rustc --version 2>/dev/null | cut -d ' ' -f 2) || true
    [ -n "$found" ] || fail "rustc does not run. $advice"
    if [ "$(printf '%s\n%s\n' "$needed" "${found%%-*}" | sort -V | head -n 1)" != "$needed" ]; then
        fail "this is Rust $found, which is too old. $advice"
    fi
}
