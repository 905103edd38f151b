# shellcheck shell=bash
# Python packages for checks, in an environment of their own. To be sourced after say.sh and packages.sh;
# `root` is the project.

venv=${root:?}/target/venv

want_python() {
    want python3 has python3
    # Debian cuts this part of Python out.
    want python3-venv python3 -c 'import ensurepip, venv'
}

# install_python_package NAME VERSION
install_python_package() {
    local stamp=$venv/$1-$2
    [ ! -e "$stamp" ] || return 0
    say "installing $1 $2 into ${venv#"$root"/}"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$1==$2" >&2 ||
        fail "$1 could not be installed"
    touch "$stamp"
}
