"""Parquet files that would fill the memory are refused in one line, whichever column the harm is in."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_study import draw, jpeg

MB = 1 << 20


def write(path, table, **options):
    whole = {"compression": "zstd", "use_dictionary": False, "dictionary_pagesize_limit": 1 << 30, **options}
    pq.write_table(table, path, **whole)


def bombs(folder):
    """Small files, each with what it would take, and what is said of it."""
    image = jpeg(draw("STAR", np.random.default_rng(0), 40))
    ids, labels = ["a", "b"], ["STAR", "GALAXY"]
    zeros, long = b"\0" * (500 * MB), "x" * (500 * MB)

    def cutouts(**changed):
        columns = {"object_id": ids, "label": labels, "image": [{"bytes": image, "path": None}] * 2, **changed}
        kinds = {"image": pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])}
        return pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})

    write(folder / "image.parquet", cutouts(image=[{"bytes": zeros, "path": None}, {"bytes": image, "path": None}]))
    yield "image.parquet", "which no images do|no cutouts"
    write(folder / "label.parquet", cutouts(label=["STAR", long]))
    yield "label.parquet", "column 'label' has .* bytes in 2 rows, as no table has"
    write(folder / "note.parquet", cutouts(note=[long, "b"]))
    yield "note.parquet", "column 'note' has .* bytes in 2 rows, as no table has"
    many = 20_000
    once = pa.DictionaryArray.from_arrays(pa.array([0] * many, pa.int32()), pa.array(["x" * MB]))
    repeated = {"object_id": [str(i) for i in range(many)], "label": once}
    repeated["image"] = pa.array([{"bytes": image, "path": "x"}] * many)
    write(folder / "repeated.parquet", pa.table(repeated), use_dictionary=True, store_schema=False)
    yield "repeated.parquet", "column 'label' repeats a text of 1048576 bytes, as no table does"


@pytest.mark.soak
def test_each_is_refused_without_memory(tmp_path):
    said = dict(bombs(tmp_path))
    assert all((tmp_path / name).stat().st_size < 4 * MB for name in said)
    script = """
        import resource, sys
        import numpy, pyarrow.compute, pyarrow.parquet
        from pathlib import Path
        from skythaw.data.cutouts import read_cutouts
        from skythaw.errors import DataError

        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 3 * 2**30,) * 2)  # if it fails, it fails here alone
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for name in sys.argv[2:]:
            try:
                cutouts = read_cutouts(Path(sys.argv[1], name))
                for _ in cutouts.images():
                    pass
                print("read")
            except DataError as error:
                print(error)
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), *said]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, grown = done.stdout.splitlines()
    assert int(grown) < 300
    assert len(lines) == len(said)
    for (name, reason), line in zip(said.items(), lines, strict=True):
        assert re.search(reason, line), (name, line)


def test_one_image_for_many_rows_is_read_a_few_rows_at_a_time(tmp_path):
    from skythaw.data.parquet_images import AT_ONCE, ROWS, rows_at_once

    big = np.random.default_rng(0).bytes(10 * MB)
    table = pa.table({"image": pa.array([{"bytes": big, "path": "x"}] * 20)})
    write(tmp_path / "one.parquet", table, use_dictionary=True)
    write(tmp_path / "plain.parquet", table)
    with pq.ParquetFile(tmp_path / "one.parquet") as one, pq.ParquetFile(tmp_path / "plain.parquet") as plain:
        assert rows_at_once(one, 0, "image") == AT_ONCE // one.metadata.row_group(0).column(0).total_uncompressed_size
        assert rows_at_once(plain, 0, "image") == ROWS
