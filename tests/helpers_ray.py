"""A small Ray cluster of several nodes on this machine, and functions to run on it."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the loopback interface alone, if Ray is not yet imported
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"

SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}
ANY_DISK = {"RAY_local_fs_capacity_threshold": "1"}
"""what does not fit in the store goes over the disk, however full that is: Ray stops at 95 % by itself"""


@contextmanager
def cluster(nodes=2, cpus=1, **options):
    """A head without CPUs, and nodes; what they start finds the modules of the tests. Nothing is left of it."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:  # paths of sockets are short
        Path(folder, "ray").mkdir()  # where Ray notes the address of its newest cluster, if not in /tmp/ray for all
        ours = ANY_DISK | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RAY_TMPDIR": folder}
        with patch.dict(os.environ, ours):
            made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "temp_dir": folder, **SMALL, **options})
            try:
                for _ in range(nodes):
                    made.add_node(num_cpus=cpus, **{**SMALL, **options})
                yield made
            finally:
                import ray

                ray.shutdown()
                made.shutdown()


def node_of(_):
    from skythaw.engines.ray_engine import node_id

    return node_id()


class Grouped:
    """Where items of groups run."""

    def needs(self, item):
        from skythaw.engines.engine import Needs

        return Needs(group=str(item % 2), stay=True)

    def __call__(self, item):
        return node_of(item)


class Carrying:
    """Reads a shared file at the node."""

    def __init__(self, shared, cache):
        self.shared, self.cache = shared, cache

    def __call__(self, _):
        path = self.shared.here(Path(self.cache))
        return str(path), path.read_bytes() if path.is_file() else sorted(p.name for p in path.iterdir())


def processes():
    """The commands of all processes that run, by id."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it is gone
            continue
    return found


def workers_of(made):
    """The processes that work for a cluster, or are ready to."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in made.worker_nodes}
    return [
        pid
        for pid, command in processes().items()
        if command.startswith("ray::") and "Agent" not in command and _parent(pid) in raylets
    ]


def _parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def big(number):
    return bytes([number]) * (60 << 20)


class Greedy:
    """Wants a GPU, of which there is none."""

    def needs(self, _):
        from skythaw.engines.engine import Needs

        return Needs(gpus=1)

    def __call__(self, item):
        return item


def _refuse():
    raise ValueError("it can't be unpacked here")


class Unpackable:
    """Can be sent, and not received."""

    def __reduce__(self):
        return _refuse, ()


def unpackable(item):
    return Unpackable() if item == 1 else item


def listening(pids):
    """The addresses at which processes listen, as the system writes them."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(handle.readlink()))
            except OSError:
                continue
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {each[1].rpartition(":")[0] for each in lines if each[3] == "0A" and f"socket:[{each[9]}]" in inodes}


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
