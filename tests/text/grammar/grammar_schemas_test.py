#!/usr/bin/env python3
"""Grammars through grammar_probe, beside the jsonschema and llguidance packages.

Arguments: the probe, the part (random, suite or oracle). The random part makes schemas and checks that every text that a
random walk through the masks writes is valid. The suite part takes the cases of json-schema-test-suite: what the
package calls valid must be accepted (spelled as the documentation says), what it calls invalid must not, and a
schema that is refused must be refused for a keyword by its name. The oracle part
compares masks with the llguidance package. Exits with 77 where a package is missing.
"""
import json
import os
import pathlib
import random
import subprocess
import sys

SUITE = pathlib.Path("/usr/share/json-schema-test-suite/tests/draft7")
UNSUPPORTED = ("not supported", "refers to itself", "leads nowhere", "may both hold", "only supported")


class Probe:
    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def pick(rng, depth):
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "format", "pattern", "length", "bounds"]
    if depth > 0:
        kinds += ["object", "object", "array", "tuple", "anyOf", "allOf", "map", "ref", "oneOf"]
    return rng.choice(kinds)


NAMES = ["a", "b", "name", "nam", "id", "x\"y", "é", "long_name_1", "long_name_2", "", "k\\n"]
PATTERNS = ["^[a-z]{2,4}$", "b+", "^a|c$", "\\d{3}-\\d{2}", "^\\S+@\\S+$", "^(foo|bar)?$", "[^\\w]", "^\\w*$", "\"", "^.{3}$",
            "\\\\", "^[\\s\\S]$", "^\\W\\D$"]
FORMATS = ["date", "time", "date-time", "uuid", "email", "ipv4", "ipv6", "hostname", "duration"]


def bounds(rng, integer):
    out = {}
    make = (lambda: rng.randint(-300, 300)) if integer else (lambda: round(rng.uniform(-20, 20), rng.randint(0, 3)))
    low, high = sorted((make(), make()))
    if rng.random() < 0.6:
        out[rng.choice(["minimum", "exclusiveMinimum"])] = low
    if rng.random() < 0.6:
        out[rng.choice(["maximum", "exclusiveMaximum"])] = round(high + 3, 3)
    if rng.random() < 0.3 and integer:
        out["multipleOf"] = rng.choice([1, 2, 3, 7, 10])
    return out


def make_schema(rng, depth):
    """A random schema, its references to #/$defs/d."""
    kind = pick(rng, depth)
    sub = lambda: make_schema(rng, depth - 1)
    if kind in ("string", "boolean", "null"):
        return {"type": kind, "description": rng.choice(["", "say \"x\" ::= | root", "\\n"])}
    if kind == "integer":
        return {"type": "integer", **bounds(rng, True)}
    if kind in ("number", "bounds"):
        return {"type": "number", **bounds(rng, False)}
    if kind in ("enum", "const"):
        values = [rng.choice([1, -2.5, "a\"b", "é\n", None, True, {"a": [1, "x"]}, [], {}, "foo", ""]) for _ in range(3)]
        return {"enum": values} if kind == "enum" else {"const": values[0]}
    if kind == "format":
        return {"type": "string", "format": rng.choice(FORMATS)}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(PATTERNS), **({"minLength": 1, "maxLength": 9} if rng.random() < 0.4 else {})}
    if kind == "length":
        low = rng.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + rng.choice([0, 1, 5, 200])}
    if kind == "object":
        names = rng.sample(NAMES, rng.randint(0, 5))
        out = {"type": "object", "properties": {name: sub() for name in names},
               "required": [name for name in names if rng.random() < 0.5]}
        if rng.random() < 0.6:
            out["additionalProperties"] = rng.choice([False, False, True, {"type": "integer"}])
        if rng.random() < 0.3:
            out["patternProperties"] = {rng.choice(["^[a-m]", "e$", "^.?$", "_"]): sub()}
        if rng.random() < 0.2:
            out["maxProperties"] = len(out["required"]) + rng.randint(0, 2)
        return out
    if kind == "map":
        out = {"type": "object", "additionalProperties": sub()}
        if rng.random() < 0.5:
            out["propertyNames"] = {"pattern": "^[a-z]+$", "maxLength": 5}
        if rng.random() < 0.5:
            out["minProperties"] = 1
        return out
    if kind == "array":
        low = rng.randint(0, 2)
        return {"type": "array", "items": sub(), "minItems": low, "maxItems": low + rng.randint(0, 3)}
    if kind == "tuple":
        return {"type": "array", "prefixItems": [sub() for _ in range(rng.randint(1, 3))], "items": rng.choice([False, {"type": "null"}]),
                "minItems": rng.randint(0, 1)}
    if kind == "anyOf":
        return {"anyOf": [sub() for _ in range(rng.randint(1, 3))]}
    if kind == "oneOf":
        return {"oneOf": [{"type": "object", "properties": {"kind": {"const": name}, "v": sub()}, "required": ["kind"]}
                          for name in rng.sample(NAMES, 2)] + [{"type": "null"}]}
    if kind == "ref":
        return {"$ref": "#/$defs/d"}
    return {"allOf": [{"type": "object", "properties": {"a": sub()}, "required": ["b"]},
                      {"properties": {"b": sub()}, "maxProperties": 4}]}


def check_random(probe, jsonschema, seeds):
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    n_texts = n_refused = n_empty = 0
    slow = 0.0
    for seed in seeds:
        rng = random.Random(seed)
        schema = make_schema(rng, rng.randint(0, 3))
        schema = {"$defs": {"d": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]}},
                                  "additionalProperties": False}}, "allOf": [schema]}
        answer = probe.ask(kind="json_schema", text=json.dumps(schema), samples=4, seed=seed)
        if "error" in answer:
            # Conditions that contradict each other are the generator's; so is what the documentation excludes.
            assert "no text" in answer["error"] or "may both hold" in answer["error"] or "'minProperties'" in answer["error"], \
                (seed, answer["error"], schema)
            n_refused += 1
            continue
        slow = max(slow, answer["compile_ms"])
        validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
        for text in answer["samples"]:
            assert not text.startswith("dead end"), (seed, text, schema)
            if not text:  # did not end in the steps of a walk
                n_empty += 1
                continue
            value = json.loads(text)
            error = next(iter(validator.iter_errors(value)), None)
            assert error is None, (seed, text, schema, error.message)
            n_texts += 1
    print(f"random: {len(seeds)} schemas, {n_texts} texts all valid, {n_refused} refused, {n_empty} without an end, "
          f"slowest compile {slow:.1f} ms")
    assert n_refused < len(seeds) * 0.25 and n_texts > 2 * len(seeds)


def respelled(value, schema, root, depth=0):
    """The value with integral floats as integers and members in the order of the schema."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, list):
        return [respelled(item, {}, root, depth + 1) for item in value]
    if isinstance(value, dict):
        order = []
        def collect(part, level=0):
            if not isinstance(part, dict) or level > 8:
                return
            order.extend(part.get("properties", {}))
            order.extend(part["const"] if isinstance(part.get("const"), dict) else {})
            order.extend(part.get("required", []) if isinstance(part.get("required"), list) else [])
            for key in ("allOf", "anyOf", "oneOf"):
                for one in part.get(key, []):
                    collect(one, level + 1)
            if isinstance(part.get("$ref"), str) and part["$ref"].startswith("#/"):
                at = root
                for name in part["$ref"][2:].split("/"):
                    at = at.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(at, dict) else {}
                collect(at, level + 1)
        collect(schema)
        keys = [key for key in dict.fromkeys(order) if key in value] + [key for key in value if key not in order]
        return {key: respelled(value[key], (schema.get("properties", {}) if isinstance(schema, dict) else {}).get(key, {}), root, depth + 1)
                for key in keys}
    return value


def check_suite(probe, files):
    n_good = n_bad = n_schemas = 0
    refused = {}
    failures = []
    for path in files:
        for group in json.loads(path.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
            texts = [json.dumps(respelled(case["data"], schema, schema), ensure_ascii=False) for case in group["tests"]]
            answer = probe.ask(kind="json_schema", text=json.dumps(schema), instances=texts)
            name = f"{path.stem}: {group['description']}"
            if "error" in answer:
                if not any(part in answer["error"] for part in UNSUPPORTED) and not all(not c["valid"] for c in group["tests"]):
                    failures.append((name, answer["error"]))
                key = answer["error"].split(": ", 2)[-1][:70]
                refused.setdefault(key, []).append(name)
                continue
            n_schemas += 1
            for case, text, accepted in zip(group["tests"], texts, answer["accepted"]):
                if accepted != case["valid"]:
                    failures.append((name, case["description"], text, "accepted" if accepted else "refused"))
                n_good += case["valid"]
                n_bad += not case["valid"]
    for failure in failures:
        print("FAILED", *failure)
    for reason, names in sorted(refused.items()):
        print("refused:", reason, "-", len(names))
    print(f"suite: {n_schemas} schemas, {n_good} valid and {n_bad} invalid instances, {sum(map(len, refused.values()))} schemas refused")
    assert not failures
    assert n_schemas > 70


REGEXES = ["[a-z]+", "a{2,5}b?", "(foo|bar|foobar)*baz", "[0-9]{3}-[0-9]{4}", "[^a-z\\n]{1,3}x", "(a|ab)(c|bcd)(d*)", "[\\x20-\\x7e]*!",
           "(x+y?)+z", "a[^\\n]c|é+ü", "[A-Z][a-z]{0,8}( [A-Z][a-z]{0,8}){1,3}", "-?(0|[1-9][0-9]*)(\\.[0-9]+)?", "(ab?){3,6}c",
           "\\(([0-9]|\\))*\\)", "[Ѐ-ӿ]{2,}", "(|a|aa)(b|)c", "([0-9]{1,3}\\.){3}[0-9]{1,3}"]
GRAMMARS = ['root ::= "(" root* ")"', 'root ::= [a-c]+ ("," [a-c]+)*', 'root ::= e\ne ::= t ("+" t)*\nt ::= [0-9]+ | "(" e ")"',
            'root ::= "a" root "b" | "ab"', 'root ::= ws "x" ws "y"? ws\nws ::= [ ]?', 'root ::= l{2,4}\nl ::= [^x] "x"?']


def check_oracle(probe):
    """After each byte of random texts the bytes that may come next are those of llguidance."""
    import llguidance

    class Bytes:
        eos_token_id = 256
        bos_token_id = None
        tokens = [bytes([i]) for i in range(256)] + [b"<end>"]
        special_token_ids = [256]
        def __call__(self, text):
            return list(text if isinstance(text, bytes) else text.encode())

    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()))
    n_masks = 0
    for kind, source in [("regex", regex) for regex in REGEXES] + [("ebnf", grammar) for grammar in GRAMMARS]:
        oracle = (llguidance.LLMatcher.grammar_from_regex(source) if kind == "regex" else
                  llguidance.LLMatcher.grammar_from_lark(llguidance.gbnf_to_lark.any_to_lark(source)))
        for text in probe.ask(kind=kind, text=source, samples=12, seed=1)["samples"]:
            text = text.encode()[:60]
            while True:
                try:
                    follow = text.decode()
                    break
                except UnicodeDecodeError:
                    text = text[:-1]
            ours = probe.ask(kind=kind, text=source, follow=follow)["bytes"]
            matcher = llguidance.LLMatcher(tokenizer, oracle)
            assert not matcher.is_error(), matcher.get_error()
            for i, expected in enumerate(ours):
                mask = matcher.compute_bitmask()
                theirs = [token for token in range(257) if mask[token // 8] >> token % 8 & 1]
                assert theirs == expected, (source, text[:i], theirs, expected)
                n_masks += 1
                if i < len(text):
                    assert matcher.consume_token(text[i])
    print(f"oracle: {n_masks} masks equal")
    assert n_masks > 1000


def main():
    probe = Probe(sys.argv[1])
    if sys.argv[2] == "suite":
        if not SUITE.is_dir():
            print(f"skipped: {SUITE} is missing (package json-schema-test-suite)")
            return 77
        optional = [SUITE / "optional" / name for name in ("bignum.json", "ecmascript-regex.json", "float-overflow.json")]
        check_suite(probe, sorted(SUITE.glob("*.json")) + [path for path in optional if path.exists()])
        return 0
    if sys.argv[2] == "oracle":
        try:
            check_oracle(probe)
        except ImportError:
            print("skipped: the llguidance package is missing")
            return 77
        return 0
    try:
        import jsonschema
    except ImportError:
        print("skipped: the jsonschema package is missing")
        return 77
    first = int(os.environ.get("GRAMMAR_SEED", "0"))
    check_random(probe, jsonschema, range(first, first + int(os.environ.get("GRAMMAR_SCHEMAS", "400"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
