"""What `deny.toml` says of licences, bans and duplicates, checked against `cargo metadata`.

Needs no network and nothing installed, so that every machine can. `cargo deny check` reads the same
file and also asks for advisories, which need their database.
"""

import collections
import json
import re
import subprocess
import sys
import tomllib

POLICY = tomllib.load(open("deny.toml", "rb"))
ALLOWED = set(POLICY["licenses"]["allow"])
BANNED = {ban["crate"] for ban in POLICY["bans"]["deny"]}
SKIPPED = [skip["crate"].split("@") for skip in POLICY["bans"]["skip"]]


def tokens(expression):
    # A slash is an old way to write `OR`.
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    return [word.upper() if word.upper() in {"OR", "AND", "WITH"} else word for word in words]


def is_allowed(expression):
    """Whether a licence expression of SPDX can be met by what is allowed."""
    rest = tokens(expression)

    def either():
        met = both()
        while rest and rest[0] == "OR":
            rest.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while rest and rest[0] == "AND":
            rest.pop(0)
            met = one() and met
        return met

    def one():
        word = rest.pop(0)
        if word == "(":
            met = either()
            if rest.pop(0) != ")":
                raise IndexError
            return met
        if rest and rest[0] == "WITH":
            rest.pop(0)
            word = f"{word} WITH {rest.pop(0)}"
        return word in ALLOWED

    try:
        return either() and not rest
    except IndexError:
        return False


def is_skipped(name, version):
    return any(
        name == crate and (version + ".").startswith(prefix + ".") for crate, prefix in SKIPPED
    )


def check(packages, compiled):
    """What is against the policy, one line for each; `compiled` is what users compile."""
    faults = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        licence = package["license"]
        if licence is None or not is_allowed(licence):
            faults.append(f"{name}: its licence is {licence or 'not said'}")
        if package["name"] in BANNED:
            faults.append(f"{name}: is banned")
        source = package["source"]
        if source is not None and not source.startswith("registry+"):
            faults.append(f"{name}: comes from {source}")
    versions = collections.defaultdict(set)
    for name, version in compiled:
        versions[name].add(version)
    for name, all_of_it in sorted(versions.items()):
        several = sorted(version for version in all_of_it if not is_skipped(name, version))
        if len(several) > 1:
            faults.append(f"{name}: is compiled in several versions, {', '.join(several)}")
    for name, prefix in SKIPPED:
        there = [version for version in versions[name] if (version + ".").startswith(prefix + ".")]
        if not there or len(versions[name]) == 1:
            faults.append(f"{name} {prefix}: `skip` of deny.toml is not needed any more")
    return faults


def test():
    """The check finds what it is to find."""
    for expression, expected in [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT/Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("ISC AND (GPL-3.0-only OR ISC) AND MIT", True),
        ("MIT AND (GPL-3.0-only", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0 WITH Nothing-exception", False),
        ("", False),
    ]:
        assert is_allowed(expression) == expected, expression

    def package(name, licence="MIT", source="registry+here"):
        return {"name": name, "version": "1.0.0", "license": licence, "source": source}

    packages = [
        package("ours", source=None),
        package("openssl"),
        package("copyleft", licence="GPL-3.0-only"),
        package("unsaid", licence=None),
        package("elsewhere", source="git+there"),
    ]
    faults = check(packages, {("twice", "1.0.0"), ("twice", "2.0.0"), ("once", "1.0.0")})
    for part in ["openssl 1.0.0: is banned", "GPL", "unsaid 1.0.0: its licence", "git+there", "twice"]:
        assert any(part in fault for fault in faults), part
    assert not any(fault.startswith(("ours", "once")) for fault in faults), faults


def cargo(*arguments):
    command = ["cargo", *arguments, "--all-features", "--locked"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


test()
packages = json.loads(cargo("metadata", "--format-version=1"))["packages"]
# What development alone turns on is not in it.
tree = cargo("tree", "--edges=no-dev", "--target=all", "--prefix=none", "--format={p}")
compiled = set(re.findall(r"^(\S+) v(\S+)", tree, re.MULTILINE))
faults = check(packages, compiled)
print("\n".join(faults or [f"{len(packages)} packages are as deny.toml has it"]))
sys.exit(bool(faults))
