# Sourced by scripts/up and scripts/test, in the project's folder: makes .venv and keeps it up to date.
# POSIX sh; needs nothing but Python 3.11 or newer, with its venv module, or uv.

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# The newest Python that really starts (a name on the PATH may be an empty shim).
find_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

make_venv() {
    python=$(find_python)
    if command -v uv >/dev/null 2>&1; then
        rm -rf .venv
        uv venv --quiet --python "${python:-3.11}" .venv || fail "uv could not make .venv; see above."
        return
    fi
    [ -n "$python" ] || fail "Python 3.11 or newer is needed and was not found on the PATH."
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv module is missing: on Debian or Ubuntu install it with 'apt install python3-venv'."
    "$python" -m venv --clear .venv || fail "$python could not make .venv; see above."
}

install_packages() {
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python .venv/bin/python -r "$1"
    else
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
    fi || fail "The packages of $1 could not be installed; see above. Is there network access to PyPI?"
}

# prepare FILE: .venv with the packages of that requirements file. Does nothing when they are there.
prepare() {
    .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || make_venv
    stamp=.venv/installed-$1
    wanted=$(cat requirements.txt "$1" | cksum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        say "Installing the packages of $1 into .venv ..."
        install_packages "$1"
        printf '%s\n' "$wanted" >"$stamp"
    fi
}
