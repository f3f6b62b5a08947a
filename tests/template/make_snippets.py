#!/usr/bin/env python3
"""Renders our snippets with Python's jinja2 and writes what it gives to tests/data/template/extra_snippets.jsonl.

Needs jinja2 3.1.6. The environment is the one that transformers makes for chat templates. The snippets are the lines of snippets.txt;
a line end inside one is written ⏎. Variables: tests/data/template/jinja_snippets_context.json.
"""
import json
import pathlib
from datetime import datetime

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

DATA = pathlib.Path(__file__).resolve().parent.parent / "data" / "template"


class Raised(jinja2.TemplateError):
    pass


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(lineno)

    @jinja2.pass_eval_context
    def _support(self, context, caller):
        return caller()


def raise_exception(message):
    raise Raised(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def make_environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.fromisoformat("2024-07-26T14:05:09").strftime(f)
    return env


def record_of(env, source, context):
    try:
        return {"template": source, "expected": env.from_string(source).render(**context)}
    except Raised as error:
        return {"template": source, "error": str(error), "error_type": "raise_exception"}
    except Exception as error:  # whatever Python raises, rendering has to fail
        return {"template": source, "error": None, "error_type": type(error).__name__}


def main():
    env = make_environment()
    context = json.loads((DATA / "jinja_snippets_context.json").read_text())
    lines = (pathlib.Path(__file__).parent / "snippets.txt").read_text().splitlines()
    snippets = [line for line in lines if line and not line.startswith("##")]
    snippets += [text.replace("⏎", "\n") for text in snippets if "⏎" in text]
    seen = dict.fromkeys(text for text in snippets if "⏎" not in text)
    with open(DATA / "extra_snippets.jsonl", "w") as out:
        for source in seen:
            out.write(json.dumps(record_of(env, source, context)) + "\n")


if __name__ == "__main__":
    main()
