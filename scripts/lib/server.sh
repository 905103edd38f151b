# shellcheck shell=bash
# A server that lives as long as the script. To be sourced after say.sh; `root` is the project.

# Set by start_server: a temporary folder with `credentials.json` and `server.log`, and where it listens.
server_folder=
# shellcheck disable=SC2034 # For the script that sources this.
server_address=
server_pid=
# Tenths of a second.
SERVER_START_TRIES_MAX=300

stop_server() {
    trap - EXIT INT TERM HUP
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
        server_pid=
    fi
    [ -z "$server_folder" ] || rm -rf "$server_folder"
}

# start_server BINARY [LINES FOR THE CONFIGURATION]: a new data folder, a new token, a free port. It is
# stopped and everything is removed when the script ends, whatever happens.
start_server() {
    local binary=$1 tries=$SERVER_START_TRIES_MAX
    trap stop_server EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    server_folder=$(mktemp -d "${TMPDIR:-/tmp}/siegel-server.XXXXXX")
    local data=$server_folder/data log=$server_folder/server.log
    "$binary" init --dir "$data" --port 0 >&2
    printf '\n%s\n' "${2:-}" >>"$data/siegel.toml"
    # Before the server runs, which keeps a SQLite ledger to itself; the port is not known yet.
    "$binary" demo credentials --config "$data/siegel.toml" --base-url http://127.0.0.1 \
        --out "$server_folder/made.json" >&2
    # Here, because the server may be slower to open it than this script to look into it.
    : >"$log"
    NO_COLOR=1 "$binary" serve --config "$data/siegel.toml" --listen 127.0.0.1:0 >"$log" 2>&1 &
    server_pid=$!
    while :; do
        server_address=$(sed -n 's|.*ready on http://\([0-9.:]*\).*|\1|p' "$log")
        [ -z "$server_address" ] || break
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || ! kill -0 "$server_pid" 2>/dev/null; then
            tail -n 20 "$log" >&2
            fail "the server does not become ready; see above"
        fi
        sleep 0.1
    done
    jq --arg base "http://$server_address/api/v2" '.base_url = $base' "$server_folder/made.json" \
        >"$server_folder/credentials.json"
}
