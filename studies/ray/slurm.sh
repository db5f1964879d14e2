#!/bin/bash
# A study on a Slurm allocation. Ray runs on every node; the command runs once, on the first.
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --exclusive
#SBATCH --time=04:00:00
set -e

# Nodes let in who knows the token; it is kept in ~/.ray, in the home folder that all nodes see.
export RAY_AUTH_MODE=token
ray get-auth-token --generate > /dev/null
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds for the slowest node to start

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# `ray symmetric-run` starts Ray on each node, runs the command on the head, and ends with `ray stop`: that stops every
# Ray process of yours on these nodes, those of other jobs included. Take whole nodes (--exclusive), or one job a node.
srun --nodes="$SLURM_JOB_NUM_NODES" ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    skythaw study run study.toml --out run --engine ray --address auto --node-cache "${TMPDIR:-/tmp}/skythaw"
