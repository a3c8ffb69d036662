#!/usr/bin/env bash
# Zoometry's front door. On first use it makes .venv and installs the project; then it runs.
#
#   ./launch.sh [OPTIONS]            compare models (all GPUs, or the CPU with all its cores); --help lists the options
#   ./launch.sh test [PYTEST …]      the test suite         ./launch.sh micro [PYTEST …]   the micro-benchmarks
#   ./launch.sh check                format, lint and types
#   NPROC=2 ./launch.sh …            that many processes on this machine
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=… ./launch.sh …         several machines (or Slurm's variables)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$root/.venv/bin/python

die() { echo "zoometry: $*" >&2; exit 2; }

# set_up EXTRA: make .venv and install the project with an extra, unless that was done for this pyproject.toml.
set_up() {
    local extra=$1 stamp=$root/.venv/zoometry-$1 interpreter
    if [[ -f $stamp && ! $root/pyproject.toml -nt $stamp ]] || { [[ -z $extra && -f $root/.venv/zoometry-dev && ! $root/pyproject.toml -nt $root/.venv/zoometry-dev ]]; }; then
        return
    fi
    interpreter=$(command -v python3) || die "python3 is not there; install Python 3.11 or later"
    "$interpreter" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$interpreter is $("$interpreter" --version); Python 3.11 or later is needed"
    echo "Setting up in $root/.venv${extra:+ (with the extra '$extra')}: a few minutes on first use" >&2
    [[ -x $python ]] || "$interpreter" -m venv "$root/.venv" || die "$interpreter has no venv; install python3-venv"
    "$python" -m pip install --quiet --editable "$root${extra:+[$extra]}" >&2 ||
        die "the packages could not be installed; see pip's message above, then run this again"
    touch "$stamp"
    echo "Set-up is done." >&2
}

case ${1-} in
    test)
        shift; set_up dev; cd "$root"
        # A core that has done its share takes tests from another; benchmarks can't be timed beside them.
        exec "$python" -m pytest -n auto --dist worksteal --benchmark-disable "$@" ;;
    micro)
        shift; set_up dev; cd "$root"
        mkdir -p .benchmarks
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(getconf _NPROCESSORS_ONLN)}  # the tests' own default is one thread
        exec "$python" -m pytest -m micro --timeout 0 --benchmark-json ".benchmarks/$(date +%Y%m%d-%H%M%S).json" "$@" ;;
    check)
        set_up dev; cd "$root"
        "$python" -m ruff format --check .
        "$python" -m ruff check .
        exec "$python" -m mypy ;;
    *)
        set_up ""
        # The package is installed in place, so this works from any folder, and relative paths are the caller's.
        exec "$python" -m bench.launch "$@" ;;
esac
