#!/bin/bash
# Starts a run, or continues it where its folder exists: what a job that may be restarted calls.
#
#     bash cluster/run_or_resume.sh systems/alanine.yaml runs/alanine [options of onestep_md.run]
set -euo pipefail
file=$1 run=$2
shift 2
if [ -e "$run/config.yaml" ]; then
    set -- --resume "$@"
fi
exec python -u -m onestep_md.run "$file" --out "$run" "$@"
