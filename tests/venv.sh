#!/bin/sh
# Make or bring up to date .venv, the Python environment of the tests and of the demo.
#
#   tests/venv.sh            do it, or say in a word that nothing was to be done
#   tests/venv.sh --lock     first write tests/requirements.txt anew from pyproject.toml, and the pins of the
#                            test bed's task image from its requirements.in
#
# Packages come from whatever index this machine's pip and uv are configured for.
# PYTHON names an interpreter to take; without it the newest fitting one is found.
set -eu
cd "$(dirname "$0")/.."

cache=${FLYTE_ONPREM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flyte-onprem}
uv_version=0.13.9
collections=14.5.0 # of PyPI's ansible, for a Python that cannot have that package whole

fail() {
    echo "venv: $*" >&2
    exit 1
}

# The first interpreter that runs and is new enough. 3.12 and 3.13 can have today's ansible-core, 3.11 an older one.
find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 \
        "$HOME"/.pyenv/versions/3.13*/bin/python3 "$HOME"/.pyenv/versions/3.12*/bin/python3 \
        python3.14 python3 python3.11 "$HOME"/.pyenv/versions/3.11*/bin/python3; do
        [ -n "$candidate" ] || continue
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$candidate"
        return
    done
    fail "no Python 3.11 or newer was found. Install one (Debian: apt-get install python3 python3-venv)" \
        "or name one: make venv PYTHON=/path/to/python3.13"
}

python=$(find_python)

# uv resolves in seconds what pip's resolver can take many minutes for; it gets an environment of its own.
uv=$cache/uv-$uv_version/bin/uv
if ! [ -x "$uv" ]; then
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make environments. Install its venv module (Debian: apt-get install python3-venv)"
    "$python" -m venv "$cache/uv-$uv_version"
    "$cache/uv-$uv_version/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$uv_version" ||
        fail "pip could not install uv $uv_version. Is this machine's package index reachable?"
fi

if [ "${1:-}" = --lock ]; then
    {
        echo "# The exact versions of the development tools and of all they pull in, for every supported Python."
        echo "# Made from the group \"dev\" of pyproject.toml by \`make lock\`. Do not edit."
        "$uv" pip compile --quiet --universal --python-version 3.11 --group pyproject.toml:dev --no-annotate --no-header
    } >tests/requirements.txt.new
    mv tests/requirements.txt.new tests/requirements.txt
    (
        cd tests/testbed/images/flytekit
        {
            echo "# flytekit and all it pulls in, for the Python of the task image. Made by \`make lock\`. Do not edit."
            "$uv" pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
                --only-binary :all: --generate-hashes --no-annotate --no-header requirements.in
        } >requirements.txt.new
        mv requirements.txt.new requirements.txt
    )
fi

stamp=$(cat tests/requirements.txt tests/venv.sh | sha256sum | cut -d' ' -f1)
if [ -x .venv/bin/python ] && [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c ''; then
    echo "venv: .venv is up to date"
    exit 0
fi

echo "venv: installing into .venv with $("$python" --version), usually 10 to 60 s"
# An environment that works is brought up to date in place: someone may be using it.
.venv/bin/python -c '' 2>/dev/null || "$uv" venv --quiet --clear --python "$python" .venv
"$uv" pip install --quiet --python .venv -r tests/requirements.txt ||
    fail "uv could not install the packages of tests/requirements.txt; its reason is above"

if .venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    echo "venv: adding the collections of ansible $collections for this older Python"
    "$cache/uv-$uv_version/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --python-version 3.14 --dest "$wheels" "ansible==$collections"
    .venv/bin/python - "$wheels"/ansible-*.whl "$site" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.startswith("ansible_collections/")])
PYTHON
fi
echo "$stamp" >.venv/.stamp
