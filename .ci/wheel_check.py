"""Does the wheel work without the repository? It is built, installed alone, and made to do what the README shows.

The wheel is made from the source archive, so that is whole too.

`make wheel-check` takes the libraries from the environment that runs this file, so that nothing large is installed
again; skythaw itself comes from the wheel. With ``--fresh`` all that it asks for is installed anew, and nothing else is
there: first the core alone, which has to name the extra that it lacks, then the extra `demo`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OBJECTS = 90


def main() -> None:
    """Build, install, and run the README's commands in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        call([sys.executable, "-m", "build", "--outdir", room, ROOT], room)  # a source archive, and a wheel from that
        (wheel,) = room.glob("skythaw-*.whl")
        check_contents(wheel)
        programs = install(wheel, room / "venv", fresh="--fresh" in sys.argv[1:])
        work = room / "work"
        work.mkdir()
        environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "XDG_CACHE_HOME": str(room)}
        environment.pop("PYTHONPATH", None)
        call(["skythaw", "--version"], work, environment)
        call(["skythaw", "blocks", "efficientnet_lite0"], work, environment)
        make_images(programs / "python", work, environment)
        shell, python = readme()
        call(["bash", "-euc", shell], work, environment)
        call(["python", "-c", python], work, environment)
        page = (work / "skythaw-tune" / "report.html").stat().st_size
        rows = (work / "predictions.csv").read_text(encoding="utf-8").splitlines()
        assert page > 10_000, "the report is a page"
        assert len(rows) == 1 + OBJECTS, "a row for each image"
    print(f"{wheel.name} works without the repository")


def check_contents(wheel: Path) -> None:
    """Every file of the package is in the wheel: pages, styles and the mark of types are easily forgotten."""
    source = ROOT / "src"
    wanted = {str(p.relative_to(source)) for p in (source / "skythaw").rglob("*") if p.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    missing = sorted(wanted - set(zipfile.ZipFile(wheel).namelist()))
    assert not missing, f"not in the wheel: {missing}"


def install(wheel: Path, place: Path, fresh: bool) -> Path:
    """An environment with skythaw from the wheel, and the libraries; the folder of its programs."""
    venv.create(place, with_pip=False)
    scripts = {"base": str(place), "platbase": str(place)}
    packages = Path(sysconfig.get_path("purelib", "venv", scripts))
    programs = Path(sysconfig.get_path("scripts", "venv", scripts))
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", place, "install"]
    if fresh:
        call([*pip, wheel], place)
        check_core(programs)
        call([*pip, f"{wheel}[demo]"], place)
    else:
        call([*pip, "--no-deps", wheel], place)
        (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    where = "import skythaw, pathlib; print(pathlib.Path(skythaw.__file__).parents[1])"
    found = subprocess.run([programs / "python", "-I", "-c", where], capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).samefile(packages), f"skythaw came from {found}"
    return programs


def check_core(programs: Path) -> None:
    """Without extras the core works, and says in one line what an extra would add."""
    for line, extra in (("data mock m.parquet", "mock"), ("serve --run r", "web"), ("backbones", "")):
        words = [programs / "skythaw", *line.split()]
        ran = subprocess.run(words, cwd=programs, capture_output=True, text=True, check=False)
        assert ran.returncode == (2 if extra else 0), f"{line}: {ran.stderr}"
        assert f"skythaw[{extra}]" in ran.stderr or not extra, f"{line}: {ran.stderr}"


def make_images(python: Path, work: Path, environment: dict[str, str]) -> None:
    """What the README takes for given: images in one folder for each class, and new ones."""
    call(["skythaw", "data", "mock", "mock.parquet", "--objects", str(OBJECTS), "--size", "32"], work, environment)
    script = """
import pathlib, sys
from skythaw.data.cutouts import read_cutouts
import pyarrow.parquet as pq
pathlib.Path("new-images").mkdir()
for row in pq.read_table("mock.parquet").to_pylist():
    folder = pathlib.Path("my-images", row["label"])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row['object_id']}.jpg").write_bytes(row["image"]["bytes"])
    pathlib.Path("new-images", f"{row['object_id']}.jpg").write_bytes(row["image"]["bytes"])
pathlib.Path("new-images", f"{row['object_id']}.jpg").rename("new-images/one.jpg")
"""
    call([python, "-c", script], work, environment)


def readme() -> tuple[str, str]:
    """The commands and the Python of the README, but for the installation; little time is enough here."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = re.search(r"```sh\n(.*?)```", text, flags=re.S)[1]
    python = re.search(r"```python\n(.*?)```", text, flags=re.S)[1]
    lines = [line for line in shell.splitlines() if not line.startswith("pip install")]
    assert len(lines) == len(shell.splitlines()) - 1
    check = f"assert classifier.predict_proba('new-images').shape == ({OBJECTS}, 3)\n"
    return "\n".join(lines).replace("--budget 30m", "--budget 4m"), python + check


def call(command: list[object], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a command; its output is shown if it fails, and its name always."""
    words = [str(word) for word in command]
    print("wheel-check:", json.dumps(" ".join(words)[:100]), flush=True)
    subprocess.run(words, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
