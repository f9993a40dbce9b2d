#!/usr/bin/env python3
"""Prints the licences of the crates that are in a binary of this project, with their texts. Each artefact with a binary
(Debian package, npm package, wheel, archive) has what this prints as third-party-licences.txt; tests/packages.rs
compares each list with Cargo.lock.

    licences.py [--target TRIPLE] PACKAGE[=FEATURE,...]...

A PACKAGE is a member of the workspace, such as `mtasts=capi` or `mtasts-cli`. The crates are those that cargo links for
the target, this machine's by default; the texts are in their sources, which cargo has downloaded for the build. What a
crate contains of others, such as ring's C code, has its texts there as well. A crate without any gets the standard text
of its licence, with its authors.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEXTS = re.compile(r"(LICEN[CS]E|UNLICEN[CS]E|COPYING|COPYRIGHT|NOTICE)([-._].*)?", re.I)

# It is in each binary, and not in Cargo.lock. Of the crates in it gimli, hashbrown and so on have the same licence.
STANDARD_LIBRARY = {
    "name": "The Rust standard library",
    "authors": ["The Rust Project Developers (https://thanks.rust-lang.org)"],
    "license": "MIT OR Apache-2.0",
    "repository": "https://www.rust-lang.org/policies/licenses",
}


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
    for name in packages.keys() - members.keys():
        sys.exit(f"licences.py: {name} is not a member of the workspace")
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


def own_texts(crate):
    """The files of a crate that say what its licence is, and the licences of what it contains: (name, text)."""
    top = Path(crate["manifest_path"]).parent
    files = sorted(path for path in top.rglob("*") if TEXTS.fullmatch(path.name) and path.is_file())
    return [(path.relative_to(top), path.read_text(encoding="utf-8", errors="replace")) for path in files]


def standard_texts(crate):
    """The texts of a licence for a crate that has none. We have those of ours; any other needs a decision."""
    offered = re.split(" OR |/", crate["license"] or "")
    authors = ", ".join(crate["authors"]) or f"the authors of {crate['name']}"
    if "MIT" in offered:
        text = (HERE / "LICENSE-MIT").read_text(encoding="utf-8")
        yield "MIT", re.sub("^Copyright .*$", f"Copyright (c) {authors}", text, count=1, flags=re.M)
    if "Apache-2.0" in offered:
        yield "Apache-2.0", (HERE / "LICENSE-APACHE").read_text(encoding="utf-8")
    if not {"MIT", "Apache-2.0"} & {*offered}:
        sys.exit(f"licences.py: {crate['name']} ({crate['license']}) has no text of its licence")


def document(found):
    """The crates, then each text once, with the crates that have it."""
    lines = ["What other people wrote in this software, and their licences.", ""]
    holders = {}
    for crate in [STANDARD_LIBRARY, *found]:
        name = " ".join(crate[part] for part in ("name", "version") if part in crate)
        lines += [name, f"    {crate['license']}, {crate['repository'] or 'https://crates.io/crates/' + crate['name']}"]
        texts = own_texts(crate) if "manifest_path" in crate else []
        for title, text in texts or standard_texts(crate):
            # Texts differ in their line ends and margins alone.
            key = " ".join(text.split())
            holders.setdefault(key, (text, {}))[1].setdefault(f"{name} ({title})")
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
