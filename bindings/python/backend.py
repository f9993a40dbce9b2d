"""Builds the package (PEP 517). maturin does, and is given two things before: the header of the library as cffi can
read it, and the `mtasts` command where a wheel has its scripts."""

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import maturin

HERE = Path(__file__).resolve().parent
# Beside this file in a source distribution, two above it in the repository.
CRATE = next(top for top in (HERE, HERE.parent.parent) if (top / "include/mtasts.h").exists())
SCRIPTS = HERE / "data" / "scripts"
# The glibc of manylinux_2_17 (PEP 599).
OLDEST_GLIBC = "2.17"

get_requires_for_build_sdist = maturin.get_requires_for_build_sdist


def get_requires_for_build_wheel(config_settings=None):
    zig = ["ziglang>=0.13", "cargo-zigbuild>=0.19"] if _with_zig() else []
    return [*maturin.get_requires_for_build_wheel(config_settings), *zig]


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_sdist(sdist_directory, config_settings=None):
    shutil.rmtree(SCRIPTS, ignore_errors=True)
    SCRIPTS.mkdir(parents=True)
    return maturin.build_sdist(sdist_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    target = _target_directory()
    # What is shipped names no directory of the machine on which it was built. The Makefile has asked already, because
    # this source distribution lies elsewhere each time.
    if "CARGO_ENCODED_RUSTFLAGS" not in os.environ:
        os.environ["CARGO_ENCODED_RUSTFLAGS"] = subprocess.check_output(["sh", CRATE / "rustflags.sh"], text=True)
    _write_header(target)
    _build_command(target)
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def _with_zig():
    return "--zig" in os.environ.get("MATURIN_PEP517_ARGS", "").split()


def _target_directory():
    about = ["cargo", "metadata", "--format-version=1", "--no-deps", f"--manifest-path={CRATE / 'Cargo.toml'}"]
    return Path(json.loads(subprocess.check_output(about))["target_directory"])


def _write_header(target):
    """maturin takes this in place of what it would make by itself. cffi knows no preprocessor but numbers."""
    header = (CRATE / "include/mtasts.h").read_text()
    header = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.S)
    header = re.sub(r'^(#(?!define MTASTS_\w+ -?\d+$).*|extern "C" \{ *|\} *)$', "", header, flags=re.M)
    target.mkdir(parents=True, exist_ok=True)
    (target / "header.h").write_text(header)


def _build_command(target):
    build, where = ["cargo", "build"], target
    if _with_zig():
        triple = f"{platform.machine()}-unknown-linux-gnu"
        build, where = ["cargo-zigbuild", "zigbuild", f"--target={triple}.{OLDEST_GLIBC}"], target / triple
    # Without --locked: the lock file of a source distribution also names packages of workspace members that it lacks.
    # Cargo removes these and keeps every version.
    build += ["--release", "--package=mtasts-cli", f"--manifest-path={CRATE / 'Cargo.toml'}"]
    subprocess.check_call(build)
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    shutil.copy2(where / "release" / "mtasts", SCRIPTS / "mtasts")
