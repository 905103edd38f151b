# shellcheck shell=bash
# A server in a temporary folder, for checks from outside. To be sourced after say.sh.

throw_away=
throw_away_server=
address=
log=

# Tenths of a second that the server has to become ready, and to stop.
THROW_AWAY_TRIES_MAX=300

remove_throw_away() {
    trap - EXIT INT TERM HUP
    if [ -n "$throw_away_server" ]; then
        kill -TERM "$throw_away_server" 2>/dev/null || true
        local tries=$THROW_AWAY_TRIES_MAX
        while kill -0 "$throw_away_server" 2>/dev/null; do
            [ "$tries" -gt 0 ] || kill -KILL "$throw_away_server" 2>/dev/null || true
            tries=$((tries - 1))
            sleep 0.1
        done
    fi
    [ -z "$throw_away" ] || rm -rf "$throw_away"
}

fail_with_log() {
    say "the end of the server's log:"
    tail -n 20 "$log" >&2 || true
    fail "$1"
}

# start_throw_away BINARY [LINES OF THE CONFIGURATION]: sets throw_away (its folder, with credentials.json),
# address and log. The server ends and the folder goes when the script ends, whatever happens.
start_throw_away() {
    siegel=$1
    throw_away=$(mktemp -d "${TMPDIR:-/tmp}/siegel-throw-away.XXXXXX")
    trap remove_throw_away EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    log=$throw_away/server.log
    "$siegel" init --dir "$throw_away" --port 0 >/dev/null
    printf '\n%s\n' "${2:-}" >>"$throw_away/siegel.toml"
    # Before the server runs, which keeps a SQLite ledger to itself. The address is written in later.
    "$siegel" demo credentials --config "$throw_away/siegel.toml" --base-url "http://ADDRESS/api/v2" \
        --out "$throw_away/credentials.json" >&2
    # Here, because the server may be slower to open it than this script to look into it.
    : >"$log"
    NO_COLOR=1 "$siegel" serve --config "$throw_away/siegel.toml" --listen 127.0.0.1:0 >"$log" 2>&1 &
    throw_away_server=$!
    local tries=$THROW_AWAY_TRIES_MAX
    until address=$(sed -n 's|.*ready on http://\([^/]*\)/.*|\1|p' "$log") && [ -n "$address" ]; do
        kill -0 "$throw_away_server" 2>/dev/null || fail_with_log "the server has ended"
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || fail_with_log "the server does not become ready"
        sleep 0.1
    done
    sed -i "s|ADDRESS|$address|" "$throw_away/credentials.json"
}

# Plays the demo till, which leaves receipt.json.
play_demo() {
    "$siegel" demo play --credentials "$throw_away/credentials.json" --out "$throw_away/demo" \
        >"$throw_away/demo.log" 2>&1 || {
        cat "$throw_away/demo.log" >&2
        fail_with_log "the demo did not succeed"
    }
}

# of_receipt NAME: the text of a field of the demo's receipt.
of_receipt() {
    sed -n "s|^ *\"$1\": \"\([^\"]*\)\".*|\1|p" "$throw_away/demo/receipt.json" | head -n 1
}

# A token of the demo's organisation.
access_token() {
    curl -fsS "http://$address/api/v2/auth" --json "@$throw_away/credentials.json" |
        sed 's|.*"access_token":"\([^"]*\)".*|\1|'
}
