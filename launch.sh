#!/usr/bin/env bash
# Run Zoometry. The first run makes .venv and installs the project into it.
#
#   ./launch.sh [OPTIONS]            compare models, on all GPUs or on all cores of the CPU; --help lists the options
#   ./launch.sh test [PYTEST …]      run the tests
#   ./launch.sh micro [PYTEST …]     run the micro-benchmarks
#   ./launch.sh check                check formatting, lint and types
#   NPROC=2 ./launch.sh …            use that many processes on this machine
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=… ./launch.sh …     use several machines (Slurm's variables work too)
set -euo pipefail
# An exported CDPATH would lead cd to another folder, and make it print that.
root=$(CDPATH='' cd -- "$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")" && pwd)
venv=$root/.venv
python=$venv/bin/python
# It stands while .venv is being made: whoever finds it makes .venv anew.
unfinished=$root/.venv.unfinished

die() { echo "zoometry: $*" >&2; exit 2; }

# is_set_up EXTRA: whether the project was installed with an extra since pyproject.toml last changed.
is_set_up() {
    local mark=$venv/zoometry-$1
    [[ -f $mark && ! -e $unfinished && ! $root/pyproject.toml -nt $mark ]]
}

# has EXTRA: whether what an extra needs is installed; 'dev' includes what a run needs.
has() { is_set_up "$1" || { [[ -z $1 ]] && is_set_up dev; }; }

# set_up EXTRA: make .venv and install the project with an extra, unless that is done.
set_up() {
    if has "$1"; then
        return
    fi
    # One start at a time. What pip and Python have started here holds the lock too, until it ends.
    (
        if command -v flock >/dev/null && ! flock -n 9; then
            echo "Waiting for another start of launch.sh that sets $venv up" >&2
            flock 9
        fi
        has "$1" || install "$1"
    ) 9>"$root/.venv.lock"
}

# install EXTRA: do so, in a .venv made anew unless it is there and whole.
install() {
    local extra=$1 interpreter
    interpreter=$(command -v python3) || die "python3 was not found; install Python 3.11 or later"
    "$interpreter" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$interpreter is $("$interpreter" --version); Python 3.11 or later is needed"
    echo "Setting up $venv${extra:+ with the extra '$extra'}; the first time this takes a few minutes" >&2
    if [[ ! -x $python || -e $unfinished ]]; then
        touch "$unfinished"
        rm -rf "$venv"
        "$interpreter" -P -m venv "$venv" || die "$interpreter can't make a virtual environment; install python3-venv"
    fi
    "$python" -P -m pip --version >/dev/null 2>&1 || die "$venv has no pip; remove that folder, then run this again"
    "$python" -P -m pip install --quiet --editable "$root${extra:+[$extra]}" >&2 ||
        die "the packages could not be installed; see pip's message above, then run this again"
    touch "$venv/zoometry-$extra"
    rm -f "$unfinished"
    echo "Setup is complete." >&2
}

case ${1-} in
    test)
        shift; set_up dev; cd "$root"
        # A core that runs out of tests takes some from another. Benchmarks only run once here: with other tests beside
        # them their times would mean nothing.
        exec "$python" -m pytest -n auto --dist worksteal --benchmark-disable "$@" ;;
    micro)
        shift; set_up dev; cd "$root"
        mkdir -p .benchmarks
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}  # tests default to one thread
        exec "$python" -m pytest -m micro --timeout 0 --benchmark-json ".benchmarks/$(date +%Y%m%d-%H%M%S).json" "$@" ;;
    check)
        set_up dev; cd "$root"
        "$python" -m ruff format --check .
        "$python" -m ruff check .
        exec "$python" -m mypy ;;
    *)
        set_up ""
        # The package is installed in editable mode, so this works from any folder, and relative paths are the caller's.
        # Without -P a file of the caller's, bench.py or numpy.py, would be imported in its place.
        exec "$python" -P -m bench.launch "$@" ;;
esac
