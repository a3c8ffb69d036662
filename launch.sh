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
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$root/.venv/bin/python

die() { echo "zoometry: $*" >&2; exit 2; }

# is_set_up EXTRA: whether the project was installed with an extra since pyproject.toml last changed.
is_set_up() { [[ -f $root/.venv/zoometry-$1 && ! $root/pyproject.toml -nt $root/.venv/zoometry-$1 ]]; }

# set_up EXTRA: make .venv and install the project with an extra, unless that is done.
set_up() {
    local extra=$1 interpreter
    # The extra 'dev' includes what a run needs.
    if is_set_up "$extra" || { [[ -z $extra ]] && is_set_up dev; }; then
        return
    fi
    interpreter=$(command -v python3) || die "python3 was not found; install Python 3.11 or later"
    "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$interpreter is $("$interpreter" --version); Python 3.11 or later is needed"
    echo "Setting up $root/.venv${extra:+ with the extra '$extra'}; the first time this takes a few minutes" >&2
    [[ -x $python ]] || "$interpreter" -m venv "$root/.venv" || die "$interpreter can't make a virtual environment; install python3-venv"
    "$python" -m pip install --quiet --editable "$root${extra:+[$extra]}" >&2 ||
        die "the packages could not be installed; see pip's message above, then run this again"
    touch "$root/.venv/zoometry-$extra"
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
        exec "$python" -m bench.launch "$@" ;;
esac
