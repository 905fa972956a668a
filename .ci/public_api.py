"""Lists the public items of rustdoc's JSON, one per line, with their signatures.

Types are printed from the JSON, not from the source: what a macro makes is listed like the rest. An
item of a kind that is not known here ends the listing with an error.
"""

import json
import sys

doc = json.load(open(sys.argv[1]))
index, paths = doc["index"], doc["paths"]
lines = []
# What is said of a type that lacks it.
EXPECTED = {"Send", "Sync", "Unpin"}
# Implemented for every type: they say nothing.
AUTO = {"Send", "Sync", "Unpin", "UnwindSafe", "RefUnwindSafe", "Freeze", "UnsafeUnpin"}
STD = {"std", "core", "alloc"}
# Names that several modules of the standard library have.
TWICE = {"Error", "Result"}
# The shortest public path of each own item, without the crate.
public = {}


def kind(item):
    return next(iter(item["inner"]))


def hidden(item):
    return "hidden" in str(item["attrs"])


# === types ===


def path_name(path):
    """`Arc`, `http::Request`, `config::Retry`: the same wherever and however it is imported."""
    written, ident = path["path"], str(path["id"])
    if ident in public:
        return public[ident]
    found = paths.get(ident)
    if found is None:
        return written.split("::")[-1] if "sealed" not in written else written
    full = found["path"]
    if full[0] in STD:
        is_one_of_several = full[-1] in TWICE and len(full) > 2 and full[-2] != "result"
        return "::".join(full[-2:]) if is_one_of_several else full[-1]
    if full[0] == "tower_mesh":
        return full[-1] if "sealed" not in full else "::".join(full[-2:])
    return f"{full[0]}::{full[-1]}"


def arguments(args):
    if args is None:
        return ""
    if "parenthesized" in args:
        inner = args["parenthesized"]
        return f"({', '.join(map(typed, inner['inputs']))})" + output(inner["output"])
    if "return_type_notation" in args:
        return "(..)"
    args = args["angle_bracketed"]
    said = []
    for arg in args["args"]:
        what = arg if isinstance(arg, str) else next(iter(arg))
        if what == "lifetime":
            said.append(arg["lifetime"])
        elif what == "type":
            said.append(typed(arg["type"]))
        elif what == "const":
            said.append(arg["const"]["expr"])
        else:
            said.append("_")
    for one in args["constraints"]:
        binding = one["binding"]
        name = one["name"] + arguments(one["args"])
        if "equality" in binding:
            said.append(f"{name} = {term(binding['equality'])}")
        else:
            said.append(f"{name}: {bounds(binding['constraint'])}")
    return f"<{', '.join(said)}>" if said else ""


def term(value):
    return typed(value["type"]) if "type" in value else value["constant"]["expr"]


def whole(path):
    return path_name(path) + arguments(path["args"])


def lifetimes(params):
    return f"for<{', '.join(it['name'] for it in params)}> " if params else ""


def bound(one):
    if "outlives" in one:
        return one["outlives"]
    if "use" in one:
        names = (it if isinstance(it, str) else next(iter(it.values())) for it in one["use"])
        return f"use<{', '.join(names)}>"
    it = one["trait_bound"]
    sign = {"none": "", "maybe": "?", "maybe_const": "~const "}[it["modifier"]]
    return sign + lifetimes(it["generic_params"]) + whole(it["trait"])


def bounds(many):
    return " + ".join(map(bound, many))


def dyn(it):
    said = [lifetimes(one["generic_params"]) + whole(one["trait"]) for one in it["traits"]]
    return "dyn " + " + ".join(said + ([it["lifetime"]] if it["lifetime"] else []))


def pointed(type_):
    """Where several bounds need parentheses."""
    said = typed(type_)
    return f"({said})" if said.startswith(("dyn ", "impl ")) and " + " in said else said


def typed(type_):
    if type_ == "infer":
        return "_"
    what, it = next(iter(type_.items()))
    if what == "resolved_path":
        return whole(it)
    if what in ("generic", "primitive"):
        return it if it != "never" else "!"
    if what == "borrowed_ref":
        life = f"{it['lifetime']} " if it["lifetime"] else ""
        return f"&{life}{'mut ' if it['is_mutable'] else ''}{pointed(it['type'])}"
    if what == "raw_pointer":
        return f"*{'mut' if it['is_mutable'] else 'const'} {pointed(it['type'])}"
    if what == "tuple":
        return f"({', '.join(map(typed, it))}{',' if len(it) == 1 else ''})"
    if what == "slice":
        return f"[{typed(it)}]"
    if what == "array":
        return f"[{typed(it['type'])}; {it['len']}]"
    if what == "impl_trait":
        return f"impl {bounds(it)}"
    if what == "dyn_trait":
        return dyn(it)
    if what == "qualified_path":
        own, name = typed(it["self_type"]), it["name"] + arguments(it["args"])
        if it["trait"] and it["trait"]["path"] and own != "Self":
            return f"<{own} as {whole(it['trait'])}>::{name}"
        return f"{own}::{name}"
    if what == "function_pointer":
        inputs = ", ".join(typed(arg) for _, arg in it["sig"]["inputs"])
        return f"{lifetimes(it['generic_params'])}fn({inputs}){output(it['sig']['output'])}"
    raise SystemExit(f"a type of the kind `{what}`: teach it to .ci/public_api.py")


def output(type_):
    return "" if type_ is None or type_ == {"tuple": []} else f" -> {typed(type_)}"


# === generics ===


def parameters(generics):
    said = []
    for one in generics["params"]:
        what, it = next(iter(one["kind"].items()))
        text = one["name"]
        if what == "lifetime":
            text += f": {' + '.join(it['outlives'])}" if it["outlives"] else ""
        elif what == "const":
            text = f"const {text}: {typed(it['type'])}"
        elif it["is_synthetic"]:
            # `impl Trait` of an argument: told there.
            continue
        else:
            text += f": {bounds(it['bounds'])}" if it["bounds"] else ""
            text += f" = {typed(it['default'])}" if it["default"] else ""
        said.append(text)
    return f"<{', '.join(said)}>" if said else ""


def conditions(generics):
    said = []
    for one in generics["where_predicates"]:
        what, it = next(iter(one.items()))
        if what == "bound_predicate":
            who = lifetimes(it["generic_params"]) + typed(it["type"])
            said.append(f"{who}: {bounds(it['bounds'])}")
        elif what == "lifetime_predicate":
            said.append(f"{it['lifetime']}: {' + '.join(it['outlives'])}")
        else:
            said.append(f"{typed(it['lhs'])} = {term(it['rhs'])}")
    return f" where {', '.join(said)}" if said else ""


# === items ===


def argument(name, type_):
    if name != "self":
        return f"{name}: {typed(type_)}"
    if type_ == {"generic": "Self"}:
        return "self"
    ref = type_.get("borrowed_ref", {})
    if ref.get("type") == {"generic": "Self"}:
        life = f"{ref['lifetime']} " if ref["lifetime"] else ""
        return f"&{life}{'mut ' if ref['is_mutable'] else ''}self"
    return f"self: {typed(type_)}"


def signature(item):
    what, name = kind(item), item["name"]
    it = item["inner"][what]
    shown = "pub " if item["visibility"] == "public" else ""
    if what == "function":
        head, sig = it["header"], it["sig"]
        words = [word for word in ("const", "async", "unsafe") if head[f"is_{word}"]]
        words += [] if head["abi"] == "Rust" else [f"extern {head['abi']}"]
        inputs = ", ".join(argument(*one) for one in sig["inputs"])
        head = "".join(f"{word} " for word in words)
        generics = it["generics"]
        return (
            f"{shown}{head}fn {name}{parameters(generics)}({inputs}){output(sig['output'])}"
            + conditions(generics)
        )
    if what in ("struct", "enum", "union"):
        generics = it["generics"]
        return f"{shown}{what} {name}{parameters(generics)}{conditions(generics)}"
    if what == "trait":
        generics = it["generics"]
        above = f": {bounds(it['bounds'])}" if it["bounds"] else ""
        return f"{shown}trait {name}{parameters(generics)}{above}{conditions(generics)}"
    if what == "struct_field":
        return f"{shown}{name}: {typed(it)}"
    if what == "variant":
        fields = it["kind"]
        if isinstance(fields, dict) and "tuple" in fields:
            told = (index.get(str(one)) if one is not None else None for one in fields["tuple"])
            told = (typed(one["inner"]["struct_field"]) if one else "_" for one in told)
            return f"{name}({', '.join(told)})"
        return name
    if what == "type_alias":
        return f"{shown}type {name}{parameters(it['generics'])} = {typed(it['type'])}"
    if what == "constant":
        return f"{shown}const {name}: {typed(it['type'])} = {it['const']['expr']}"
    if what == "assoc_const":
        return f"{shown}const {name}: {typed(it['type'])}"
    if what == "assoc_type":
        limits = f": {bounds(it['bounds'])}" if it["bounds"] else ""
        value = f" = {typed(it['type'])}" if it["type"] else ""
        generics = it["generics"]
        return f"{shown}type {name}{parameters(generics)}{limits}{value}{conditions(generics)}"
    raise SystemExit(f"{name}: an item of the kind `{what}`: teach it to .ci/public_api.py")


def emit(text):
    lines.append(" ".join(text.split()))


def head_of(block):
    inner = block["inner"]["impl"]
    not_ = "!" if inner["is_negative"] else ""
    return (
        f"impl{parameters(inner['generics'])} {not_}{whole(inner['trait'])}"
        f" for {typed(inner['for'])}{conditions(inner['generics'])}"
    )


def implementations(item, path):
    for ident in item["inner"][kind(item)]["impls"]:
        block = index.get(str(ident))
        if block is None:
            continue
        inner = block["inner"]["impl"]
        if inner["is_synthetic"] and inner["is_negative"]:
            if inner["trait"]["path"] in EXPECTED:
                emit(f"{path}: not {inner['trait']['path']}")
            continue
        if inner["is_synthetic"] or inner["blanket_impl"] or hidden(block):
            continue
        trait = inner["trait"]
        if trait is None:
            # What the block asks of its parameters is a part of each of its methods.
            given = parameters(inner["generics"]) + conditions(inner["generics"])
            told = f" [impl{given}]" if ":" in given else ""
            for member in inner["items"]:
                found = index.get(str(member))
                if found and found["visibility"] == "public" and not hidden(found):
                    emit(f"{path}: {signature(found)}{told}")
            continue
        name = trait["path"].split("::")[-1]
        if name in AUTO or name.startswith("Structural"):
            continue
        emit(f"{path}: {head_of(block)}")
        for member in inner["items"]:
            found = index.get(str(member))
            if found and kind(found) == "assoc_type":
                emit(f"{path}: {whole(trait)}: {signature(found)}")


def of_others(item, path):
    """Those of a trait for types that are nobody's here."""
    for ident in item["inner"]["trait"]["implementations"]:
        block = index.get(str(ident))
        if block is None or block["crate_id"] != 0:
            continue
        target = block["inner"]["impl"]["for"]
        own = target.get("resolved_path") if isinstance(target, dict) else None
        if own is None or paths.get(str(own["id"]), {}).get("crate_id") != 0:
            emit(f"{path}: {head_of(block)}")


def marked(item):
    return "#[non_exhaustive] " if "non_exhaustive" in str(item["attrs"]) else ""


def members_of(item):
    what = kind(item)
    inner = item["inner"][what]
    if what == "struct":
        fields = inner["kind"]
        # A unit struct is the word `unit`.
        if isinstance(fields, str):
            return []
        return fields["plain"]["fields"] if "plain" in fields else fields.get("tuple", [])
    return {"enum": inner.get("variants"), "trait": inner.get("items")}.get(what) or []


def visit(ident, path, name, seen, act):
    """Calls `act` with each public item and its path."""
    item = index.get(str(ident))
    if item is None or hidden(item):
        return
    what = kind(item)
    if what == "use":
        target = item["inner"]["use"]
        if str(target["id"]) in index:
            visit(target["id"], path, target["name"], seen, act)
        return
    path = f"{path}::{name or item['name']}"
    if path in seen:
        return
    seen.add(path)
    act(item, path)
    if what == "module":
        for member in item["inner"]["module"]["items"]:
            visit(member, path, None, seen, act)


def note(item, path):
    ident, own = str(item["id"]), path.split("::", 1)[1]
    best = public.get(ident)
    if best is None or (own.count("::"), own) < (best.count("::"), best):
        public[ident] = own


def tell(item, path):
    what = kind(item)
    if what == "module":
        emit(f"mod {path}")
        return
    emit(f"{path}: {marked(item)}{signature(item)}")
    for member in members_of(item):
        found = index.get(str(member))
        if found is None or found["visibility"] not in ("public", "default") or hidden(found):
            continue
        given = kind(found) == "function" and found["inner"]["function"]["has_body"]
        marks, body = marked(found) if what == "enum" else "", " { .. }" if given else ""
        emit(f"{path}: {marks}{signature(found)}{body}")
        if kind(found) == "variant":
            fields = found["inner"]["variant"]["kind"]
            if isinstance(fields, dict) and "struct" in fields:
                for field in fields["struct"]["fields"]:
                    field = index.get(str(field))
                    if field:
                        emit(f"{path}: {found['name']}.{signature(field)}")
    if what in ("struct", "enum", "union"):
        implementations(item, path)
    if what == "trait":
        of_others(item, path)


for act in (note, tell):
    seen = set()
    for member in index[str(doc["root"])]["inner"]["module"]["items"]:
        visit(member, "tower_mesh", None, seen, act)
if bad := [line for line in lines if line.endswith("!")]:
    raise SystemExit("not listed as what it is:\n" + "\n".join(bad))
print("\n".join(sorted(set(lines))))
