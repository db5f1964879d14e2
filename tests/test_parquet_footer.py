"""What the footer of a Parquet file says: as Arrow has it, and without the end of the process where it is damaged."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers_study import make_survey
from skythaw.data import parquet_footer
from skythaw.data.parquet_footer import column_chunks

EACH_BYTE = """
    import contextlib, sys
    from pathlib import Path

    from skythaw.data.cutouts import read_cutouts
    from skythaw.data.sources.sdss.positions import read_catalog
    from skythaw.errors import DataError

    path = Path(sys.argv[1])
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    read = 0
    for place in range(footer, len(good)):
        for change in (1, 128):
            data = bytearray(good)
            data[place] ^= change
            path.write_bytes(data)
            with contextlib.suppress(DataError):
                if path.stem == "catalogue":
                    list(read_catalog(path, {}).items)
                else:
                    list(read_cutouts(path).images())
                read += 1
    print(read)
"""


@pytest.mark.parametrize("compression", ["snappy", "zstd", None])
@pytest.mark.parametrize("more", [False, True])
def test_it_says_what_arrow_says(tmp_path, compression, more):
    rows = 1000
    columns = {
        "n": np.arange(rows),
        "text": [f"x{i % 7}" for i in range(rows)],
        "list": [[1, 2]] * rows,
        "image": [{"bytes": b"q" * 30, "path": None}] * rows,
        "flag": [True, False] * (rows // 2),
        "time": pa.array([1] * rows, pa.timestamp("us", "UTC")),
    }
    settings = {"row_group_size": 300, "use_dictionary": more, "write_page_index": more, "write_statistics": more}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", compression=compression, **settings)
    with pq.ParquetFile(tmp_path / "t.parquet") as file:
        assert file.num_row_groups == 4
        for group in range(file.num_row_groups):
            of_arrow = file.metadata.row_group(group)
            chunks = column_chunks(file, group)
            assert len(chunks) == of_arrow.num_columns
            for number, chunk in enumerate(chunks):
                other = of_arrow.column(number)
                assert chunk.path == other.path_in_schema
                assert chunk.column == other.path_in_schema.split(".")[0]
                assert (chunk.packed, chunk.unpacked) == (other.total_compressed_size, other.total_uncompressed_size)
                assert chunk.is_bytes == (other.physical_type == "BYTE_ARRAY")
                assert chunk.has_dictionary == any("DICTIONARY" in each for each in other.encodings)
                assert chunk.start == (other.dictionary_page_offset or other.data_page_offset)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["catalogue", "cutouts"])
def test_any_changed_byte_of_it_is_refused_or_read_and_ends_no_process(tmp_path, kind):
    """Arrow 26 ends the process where statistics of sizes are damaged, and its own objects of columns are asked for."""
    path = tmp_path / f"{kind}.parquet"
    if kind == "catalogue":
        pq.write_table(pa.table({"objID": ["1", "2", "3"], "ra": [10.5, 0.0, 359.9], "dec": [-1.0, 90.0, 2.5]}), path)
    else:
        make_survey(path, 30)
    program = [sys.executable, "-c", textwrap.dedent(EACH_BYTE), path]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_a_footer_that_is_far_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_footer, "LARGEST", 1000)
    pq.write_table(pa.table({f"column {number}": [1.0] for number in range(20)}), tmp_path / "t.parquet")
    with (
        pq.ParquetFile(tmp_path / "t.parquet") as file,
        pytest.raises(pa.ArrowInvalid, match=r"at most 1,000 are read"),
    ):
        column_chunks(file, 0)
