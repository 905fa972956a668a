"""Lists the public items of rustdoc's JSON, one per line, with their signatures as written."""

import json
import re
import sys

doc = json.load(open(sys.argv[1]))
index, paths = doc["index"], doc["paths"]
files, lines = {}, []
# What is said of a type that lacks it.
EXPECTED = {"Send", "Sync", "Unpin"}
# Implemented for every type: they say nothing.
AUTO = {"Send", "Sync", "Unpin", "UnwindSafe", "RefUnwindSafe", "Freeze", "UnsafeUnpin"}


def signature(item):
    """The item's source from its span on, up to its body, on one line."""
    span = item["span"]
    name, (row, column) = span["filename"], span["begin"]
    if name not in files:
        files[name] = open(name).read().split("\n")
    rest = files[name][row - 1 : span["end"][0]]
    text = "\n".join([rest[0][column - 1 :]] + rest[1:])
    text = re.sub(r"//[^\n]*", "", text)
    end = re.search(r"[{;]", text)
    # A field, variant or alias ends with its span.
    whole = {"struct_field", "variant", "type_alias", "constant", "assoc_type", "assoc_const"}
    if kind(item) in whole:
        last = span["end"][1] - (column - 1 if len(rest) == 1 else 0)
        kept = text.split("\n")
        kept[-1] = kept[-1][:last]
        text = "\n".join(kept).rstrip(";, ")
        if kind(item) == "variant":
            text = re.split(r"[{]", text)[0]
    elif end:
        text = text[: end.start()]
    if kind(item) == "struct":
        # The fields of a tuple are listed on their own, if they are public.
        text = text.split("(")[0]
    if kind(item) == "struct_field":
        text = text.rstrip(")") if text.count(")") > text.count("(") else text
    text = " ".join(text.split())
    text = re.sub(r"\s*where$", "", re.sub(r"#\[[^\]]*\]\s*", "", text))
    text = re.sub(r"\bmut (self|[a-z_]+:)", r"\1", text)
    return re.sub(r",\s*\)", ")", re.sub(r"\(\s+", "(", text)).rstrip(" ,")


def kind(item):
    return next(iter(item["inner"]))


def short(type_):
    """A type's own name, for the head of an impl."""
    if isinstance(type_, dict) and "resolved_path" in type_:
        return type_["resolved_path"]["path"].split("::")[-1]
    return None


def hidden(item):
    return "#[doc(hidden)]" in str(item["attrs"]) or "hidden" in str(item["attrs"])


def emit(text):
    lines.append(text)


def implementations(item, path):
    for ident in item["inner"][kind(item)].get("impls", []) + item["inner"][kind(item)].get(
        "implementations", []
    ):
        block = index.get(str(ident))
        if block is None:
            continue
        inner = block["inner"]["impl"]
        if inner["is_synthetic"] and inner["is_negative"] and kind(item) != "trait":
            if inner["trait"]["path"] in EXPECTED:
                emit(f"{path}: not {inner['trait']['path']}")
            continue
        if inner["is_synthetic"] or inner["blanket_impl"] or kind(item) == "trait":
            continue
        trait = inner["trait"]
        if trait is None:
            for member in inner["items"]:
                found = index.get(str(member))
                if found and found["visibility"] == "public" and not hidden(found):
                    emit(f"{path}: {signature(found)}")
            continue
        name = trait["path"].split("::")[-1]
        if name in AUTO or name.startswith("Structural"):
            continue
        derived = "automatically_derived" in str(block["attrs"])
        emit(f"{path}: impl {name}" if derived else f"{path}: {signature(block)}")


def walk(ident, path, seen):
    item = index.get(str(ident))
    if item is None or hidden(item):
        return
    what = kind(item)
    if what == "use":
        target = item["inner"]["use"]
        if str(target["id"]) in index:
            walk_as(target["id"], path, target["name"], seen)
        return
    walk_as(ident, path, item["name"], seen)


def walk_as(ident, path, name, seen):
    item = index[str(ident)]
    what, path = kind(item), f"{path}::{name}"
    if path in seen or hidden(item):
        return
    seen.add(path)
    inner = item["inner"][what]
    if what == "module":
        emit(f"mod {path}")
        for member in inner["items"]:
            walk(member, path, seen)
        return
    marks = "#[non_exhaustive] " if "non_exhaustive" in str(item["attrs"]) else ""
    emit(f"{path}: {marks}{signature(item)}")
    members = []
    if what == "struct":
        fields = inner["kind"]
        # A unit struct is the word `unit`.
        if not isinstance(fields, str):
            members = fields["plain"]["fields"] if "plain" in fields else fields.get("tuple", [])
    elif what == "enum":
        members = inner["variants"]
    elif what == "trait":
        members = inner["items"]
    for member in members:
        found = index.get(str(member))
        if found is None or found["visibility"] not in ("public", "default"):
            continue
        emit(f"{path}: {signature(found)}")
        if kind(found) == "variant":
            fields = found["inner"]["variant"]["kind"]
            if isinstance(fields, dict) and "struct" in fields:
                for field in fields["struct"]["fields"]:
                    field = index.get(str(field))
                    if field:
                        emit(f"{path}: {found['name']}.{signature(field)}")
    if what in ("struct", "enum", "union"):
        implementations(item, path)


root = index[str(doc["root"])]
seen = set()
for member in root["inner"]["module"]["items"]:
    walk(member, "tower_mesh", seen)
print("\n".join(sorted(set(lines))))
