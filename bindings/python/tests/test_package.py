"""What is shipped: the licences of what is in it, and what a build says that cannot be done."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import mtasts
from mtasts.__main__ import command

ROOT = Path(__file__).resolve().parents[3]
CRATE = re.compile(r"^([\w-]+) (\d+\.\d+\.\d+\S*)$", re.M)


def licences() -> str:
    """The texts of other people's licences, as they are installed."""
    (path,) = [file for file in metadata.files("mtasts") or [] if file.name == "third-party-licences.txt"]
    return path.read_text()


def test_every_crate_in_the_wheel_has_its_licence() -> None:
    said = licences()
    named = set(CRATE.findall(said.partition("=" * 78)[0]))
    lock = (ROOT / "Cargo.lock").read_text()
    locked = set(re.findall(r'^name = "(.+)"\nversion = "(.+)"\nsource = ', lock, re.M))
    assert len(named) > 100 and named <= locked, named - locked
    # What is linked, by another way than the script's.
    tree = ["cargo", "tree", "--offline", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"]
    linked = set()
    for package in (["--package=mtasts", "--features=capi"], ["--package=mtasts-cli"]):
        lines = subprocess.run([*tree, *package], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        # Members of the workspace are ours: they have a path.
        linked |= set(re.findall(r"^(\S+) v(\S+)$", lines, re.M))
    assert len(linked) > 100 and linked <= named, linked - named
    # And by a third: messages of panics name the files of crates.
    library = next((Path(mtasts.__file__).parent / "_native").glob("*.so")).read_bytes()
    program = command()
    assert program is not None
    source = re.compile(rb"/registry/src/[^/]+/([\w-]+?)-(\d+\.\d+\.\d+[^/]*)/")
    inside = {(n.decode(), v.decode()) for n, v in source.findall(library + Path(program).read_bytes())}
    assert len(inside) > 10 and inside <= named, inside - named
    # Each has a text.
    texts = said.partition("=" * 78)[2]
    for name, version in named:
        assert re.search(rf"^{re.escape(f'{name} {version}')} \(.+\)$", texts, re.M), name
    for words in [
        "Apache License",
        "Permission is hereby granted",
        "UNICODE LICENSE",
        "Redistributions in binary form",
    ]:
        assert words in texts
    ours = {file.name for file in metadata.files("mtasts") or [] if "licenses" in file.parts}
    assert ours >= {"LICENSE", "LICENSE-MIT", "LICENSE-APACHE", "third-party-licences.txt"}


def test_a_crate_without_a_text_gets_that_of_its_licence(tmp_path: Path) -> None:
    """Of licences that are ours as well. Any other needs a decision."""
    spec = importlib.util.spec_from_file_location("licences", ROOT / "licences.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    crate = {"name": "odd", "license": "MIT/Apache-2.0", "authors": ["Odd One", "Odd Two"]}
    crate["manifest_path"] = str(tmp_path / "Cargo.toml")
    (tmp_path / "README.md").touch()
    assert script.own_texts(crate) == []
    mit, apache = (text for _, text in script.standard_texts(crate))
    assert "\nCopyright (c) Odd One, Odd Two\n" in mit and "libmtasts" not in mit and "Apache License" in apache
    with pytest.raises(SystemExit, match="odd .MPL-2.0. has no text of its licence"):
        list(script.standard_texts({**crate, "license": "MPL-2.0"}))
    # What it has of others is in a directory of its own.
    (tmp_path / "third_party").mkdir()
    (tmp_path / "third_party" / "LICENSE-MIT.txt").write_text("text")
    assert [(str(path), text) for path, text in script.own_texts(crate)] == [("third_party/LICENSE-MIT.txt", "text")]


def test_what_is_not_linux(tmp_path: Path) -> None:
    """It is told so before anything is compiled."""
    script = "import sys; sys.platform = 'darwin'; sys.path[:0] = sys.argv[1:]; import backend; backend._can_build()"
    (tmp_path / "maturin.py").write_text("get_requires_for_build_sdist = None\n")
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(ROOT / "bindings" / "python"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.startswith("mtasts runs on Linux alone, not on darwin"), done


def test_what_the_package_index_shows() -> None:
    about = metadata.metadata("mtasts")
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in range(9, 15)}
    assert versions <= set(about.get_all("Classifier", []))
    assert about["License-Expression"] == "MIT OR Apache-2.0" and about.get_all("Project-URL")
