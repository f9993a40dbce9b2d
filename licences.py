#!/usr/bin/env python3
"""Prints the licences of the crates that are in a binary of this project, with their texts: what each artefact that is
shipped (wheel, Debian package, npm package) has to carry.

    licences.py [--target TRIPLE] PACKAGE[=FEATURE,...]...

A PACKAGE is a member of the workspace, such as `mtasts=capi` or `mtasts-cli`. The crates are those that cargo links for
the target, this machine's by default; the texts are in their sources, which cargo has downloaded for the build. A crate
without one is an error, because it needs a decision.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEXTS = re.compile(r"(LICEN[CS]E|UNLICEN[CS]E|COPYING|COPYRIGHT|NOTICE)([-._].*)?", re.I)

# The same in each binary, and no crate.
STANDARD_LIBRARY = """\
The Rust standard library
    MIT OR Apache-2.0, copyright the Rust Project contributors, https://www.rust-lang.org/policies/licenses
"""


def crates(packages, target):
    """The crates that are linked into these packages, by name and version; members of the workspace are not among them."""
    command = ["cargo", "metadata", "--format-version=1", f"--manifest-path={HERE / 'Cargo.toml'}"]
    command += [f"--filter-platform={target}"]
    features = [f"{name}/{feature}" for name, given in packages.items() for feature in given]
    if features:
        command.append(f"--features={','.join(features)}")
    about = json.loads(subprocess.check_output(command))
    known = {package["id"]: package for package in about["packages"]}
    links = {node["id"]: node["deps"] for node in about["resolve"]["nodes"]}
    members = {known[member]["name"]: member for member in about["workspace_members"]}
    found, left = set(), [members[name] for name in packages]
    while left:
        package = left.pop()
        # What runs in the compiler is not in the binary.
        if package in found or any("proc-macro" in part["kind"] for part in known[package]["targets"]):
            continue
        found.add(package)
        for link in links[package]:
            if any(kind["kind"] is None for kind in link["dep_kinds"]):
                left.append(link["pkg"])
    strangers = [known[package] for package in found if known[package]["source"]]
    return sorted(strangers, key=lambda crate: (crate["name"], crate["version"]))


def texts(crate):
    """The files of a crate that say what its licence is."""
    directory = Path(crate["manifest_path"]).parent
    files = [path for path in sorted(directory.iterdir()) if path.is_file() and TEXTS.fullmatch(path.name)]
    if not files:
        sys.exit(f"licences.py: {crate['name']} {crate['version']} ({crate['license']}) has no text of its licence")
    return files


def document(found):
    """The crates, then each text once, with the crates that have it."""
    lines = ["The crates in this software that other people wrote, and their licences.", "", STANDARD_LIBRARY]
    holders = {}
    for crate in found:
        name = f"{crate['name']} {crate['version']}"
        lines += [name, f"    {crate['license']}, {crate['repository'] or 'https://crates.io/crates/' + crate['name']}"]
        for path in texts(crate):
            # Texts differ in their line ends and margins alone.
            text = path.read_text(encoding="utf-8", errors="replace")
            key = " ".join(text.split())
            holders.setdefault(key, (text, {}))[1].setdefault(f"{name} ({path.name})")
    for text, names in holders.values():
        lines += ["", "=" * 78, *names, "-" * 78, text.strip("\n")]
    return "\n".join(lines) + "\n"


def host():
    """The target of this machine's compiler."""
    return re.search(r"^host: (.+)$", subprocess.check_output(["rustc", "-vV"], text=True), re.M)[1]


def main():
    arguments = argparse.ArgumentParser(usage="licences.py [--target TRIPLE] PACKAGE[=FEATURE,...]...")
    arguments.add_argument("--target")
    arguments.add_argument("packages", nargs="+")
    given = arguments.parse_args()
    packages = {}
    for package in given.packages:
        name, _, features = package.partition("=")
        packages[name] = features.split(",") if features else []
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(document(crates(packages, given.target or host())))


if __name__ == "__main__":
    main()
