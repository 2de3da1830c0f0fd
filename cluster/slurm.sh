#!/bin/bash
# One run on all nodes of a SLURM job:
#
#     sbatch --nodes=4 --cpus-per-task=32 cluster/slurm.sh systems/alanine.yaml runs/alanine
#
# Evaluators take every core but those of the learner, which runs on the first node. The job puts
# itself back into the queue when its time is up, and SLURM does so when it is pre-empted or a node
# fails; each time the run continues from its last checkpoint.
#SBATCH --job-name=onestep_md
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# Three minutes before the end, to this script alone: killed evaluators could not finish the step.
#SBATCH --signal=B:TERM@180
set -uo pipefail

export FILE=${1:-systems/alanine.yaml}
export RUN=${2:-runs/$(basename "$FILE" .yaml)}
export LEARNER_THREADS=${LEARNER_THREADS:-4}
export PORT=${PORT:-6379}
# Ray waits 30 s for all nodes unless told otherwise; slow file systems need more.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=${RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT:-300}
# This script runs on the first node. An address, since a host name may mean 127.0.1.1 there.
HEAD=$(hostname -I | cut -d' ' -f1):$PORT
export HEAD

# Without a token, every user who reaches the port could run code as you. Ray < 2.52 knows none.
if (umask 077 && ray get-auth-token --generate >/dev/null 2>&1); then
    export RAY_AUTH_MODE=token
fi

mkdir -p "$(dirname "$RUN")"
rm -f "$RUN.exit" "$RUN.pid"

# The wrapper forwards neither signals nor exit codes, so both take the way of a file.
# shellcheck disable=SC2016
driver='
    bash cluster/run_or_resume.sh "$FILE" "$RUN" --address "$HEAD" \
        --set cluster.learner_threads="$LEARNER_THREADS" &
    echo $! >"$RUN.pid"
    wait $!
    echo $? >"$RUN.exit"
'
export driver
# shellcheck disable=SC2016
node='
    cpus=$SLURM_CPUS_PER_TASK
    if [ "$SLURM_NODEID" = 0 ]; then
        cpus=$((cpus > LEARNER_THREADS ? cpus - LEARNER_THREADS : 1))
    fi
    exec ray symmetric-run --address "$HEAD" --min-nodes "$SLURM_JOB_NUM_NODES" \
        --num-cpus="$cpus" -- bash -c "$driver"
'

stopping=
stop() {
    stopping=yes
    echo "time is up: asking the run for a checkpoint"
    kill -TERM "$(cat "$RUN.pid")"
}
trap stop TERM

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" bash -c "$node" &
steps=$!
while kill -0 "$steps" 2>/dev/null; do # a trapped signal ends `wait` early
    wait "$steps"
done

code=$(cat "$RUN.exit" 2>/dev/null || echo 1)
# 75: interrupted, and resumable. Anything else after the signal: killed before it could say so.
if [ "$code" = 75 ] || { [ -n "$stopping" ] && [ "$code" != 0 ]; }; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
