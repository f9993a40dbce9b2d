"""Builds the package (PEP 517). maturin does, and is given three things before: the header of the library as cffi can
read it, the `mtasts` command where a wheel has its scripts, and the licences of all crates in both."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import maturin

HERE = Path(__file__).resolve().parent
# Beside this file in a source distribution, two above it in the repository.
CRATE = next(top for top in (HERE, HERE.parent.parent) if (top / "include/mtasts.h").exists())
SCRIPTS = HERE / "data" / "scripts"
LICENCES = HERE / "licences"
# The glibc of manylinux_2_17 (PEP 599).
OLDEST_GLIBC = "2.17"

get_requires_for_build_sdist = maturin.get_requires_for_build_sdist


def get_requires_for_build_wheel(config_settings=None):
    _can_build()
    zig = ["ziglang>=0.13", "cargo-zigbuild>=0.19"] if "--zig" in _arguments() else []
    return [*maturin.get_requires_for_build_wheel(config_settings), *zig]


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    _write_licences()
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def build_sdist(sdist_directory, config_settings=None):
    shutil.rmtree(SCRIPTS, ignore_errors=True)
    SCRIPTS.mkdir(parents=True)
    _write_licences()
    return maturin.build_sdist(sdist_directory, config_settings)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    target = _target_directory()
    # What is shipped names no directory of the machine on which it was built. The Makefile has asked already, because
    # this source distribution lies elsewhere each time.
    if "CARGO_ENCODED_RUSTFLAGS" not in os.environ:
        os.environ["CARGO_ENCODED_RUSTFLAGS"] = subprocess.check_output(["sh", CRATE / "rustflags.sh"], text=True)
    _write_header(target)
    _write_licences()
    _build_command(target)
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def _can_build():
    """Says what is missing, before maturin downloads a compiler or a crate says it in words of its own."""
    if not sys.platform.startswith("linux"):
        sys.exit(f"mtasts runs on Linux alone, not on {sys.platform}: it uses timerfd, prctl and other calls of Linux.")
    if shutil.which("cargo") is None:
        sys.exit(
            "mtasts has no wheel for this system and has to be compiled, but cargo is not in PATH. "
            "Install Rust 1.89 or newer (https://rustup.rs) and a C compiler, then try again."
        )


def _arguments():
    """What maturin is told by the environment."""
    return os.environ.get("MATURIN_PEP517_ARGS", "").split()


def _foreign_target():
    """The machine for which is built, if the arguments name one."""
    arguments = _arguments()
    return arguments[arguments.index("--target") + 1] if "--target" in arguments else None


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


def _write_licences():
    shutil.rmtree(LICENCES, ignore_errors=True)
    LICENCES.mkdir()
    for path in CRATE.glob("LICENSE*"):
        shutil.copy2(path, LICENCES)
    # A source distribution has no crates in it, and may be made where they are not.
    if shutil.which("cargo"):
        target = _foreign_target()
        script = [sys.executable, CRATE / "licences.py", *([f"--target={target}"] if target else [])]
        said = subprocess.check_output([*script, "mtasts=capi", "mtasts-cli"])
        (LICENCES / "third-party-licences.txt").write_bytes(said)


def _build_command(target):
    build, where, triple = ["cargo", "build"], target, _foreign_target()
    if "--zig" in _arguments():
        triple = triple or f"{platform.machine()}-unknown-linux-gnu"
        oldest = f".{OLDEST_GLIBC}" if triple.endswith("-gnu") else ""
        build = ["cargo-zigbuild", "zigbuild", f"--target={triple}{oldest}"]
    elif triple:
        build.append(f"--target={triple}")
    if triple:
        where = target / triple
    # Without --locked: the lock file of a source distribution also names packages of workspace members that it lacks.
    # Cargo removes these and keeps every version.
    build += ["--release", "--package=mtasts-cli", f"--manifest-path={CRATE / 'Cargo.toml'}"]
    subprocess.check_call(build)
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    shutil.copy2(where / "release" / "mtasts", SCRIPTS / "mtasts")
