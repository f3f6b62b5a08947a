"""Command lines of the two engines that every case compares, and how to read what they print."""
import json
import re

import process
from problem import Problem

JSON_OBJECT = re.compile(r'\{".*\}')
FINAL_PERPLEXITY = re.compile(r"Final estimate: PPL = ([0-9.]+)")


def json_of(text, who):
    try:
        return json.loads(text)
    except ValueError as error:
        raise Problem(f"{who}: its output is no JSON: {error}") from error


def json_lines(text, who):
    # Lines of a log may come between, even into the same line.
    rows = [json_of(line, who) for line in JSON_OBJECT.findall(text)]
    if not rows:
        raise Problem(f"{who}: printed no result")
    return rows


class Ours:
    """llmhost. Batched tests are named tg16@d128x1 here too, where the program itself says tg16@d128."""

    name = "llmhost"

    def __init__(self, program, arguments=()):
        self.program = program
        self.arguments = list(arguments)
        self.environment = {}

    def help_of(self, command):
        return process.run([self.program, command, "--help"]).output

    def speed(self, model, test, threads, samples):
        return [self.program, "bench", model, "-p", test.prompt, "-n", test.generate, "-d", test.depth, "-b", test.sequences,
                "-r", samples, "-t", threads, "--json", *self.arguments]

    @staticmethod
    def read_speed(output, test):
        rows = json_of(output, "llmhost bench")
        name = test.name.removesuffix("x1") if test.batched else test.name
        found = [row for row in rows if row.get("test") == name]
        if not found:
            raise Problem(f"llmhost bench: no row '{name}' among {[row.get('test') for row in rows]}")
        return [float(sample) for sample in found[0]["samples"]]

    def first_token(self, model, threads, context, prompt):
        return [self.program, "run", model, prompt, "--raw", "--max-tokens", 1, "-t", threads, "--context", context,
                *self.arguments]

    def answer(self, model, prompt, tokens, threads):
        return [self.program, "run", model, prompt, "--raw", "--max-tokens", tokens, "--temperature", 0, "-t", threads, "--json",
                *self.arguments]

    @staticmethod
    def read_answer(output):
        """(tokens, how many a second after the first)"""
        answer = json_of(output, "llmhost run")
        tokens, seconds = answer["tokens"], answer["timings"]["generate_ms"] / 1e3
        if len(tokens) < 2 or seconds <= 0:
            raise Problem(f"llmhost run: an answer of {len(tokens)} tokens tells no speed")
        return tokens, (len(tokens) - 1) / seconds

    def perplexity(self, model, text, threads, windows, precision):
        chosen = ["--precision", precision] if precision else []
        return [self.program, "perplexity", model, text, "--window", 512, "--windows", windows, "--skip", 257, "--bos-inside",
                "-t", threads, "--json", *chosen, *self.arguments]

    @staticmethod
    def read_perplexity(output):
        return float(json_of(output, "llmhost perplexity")["perplexity"])


class LlamaCpp:
    name = "llama.cpp"

    def __init__(self, folder, environment=None):
        self.folder = folder
        self.environment = {"LD_LIBRARY_PATH": str(folder), **(environment or {})}

    def speed(self, model, test, threads, samples):
        if test.batched:
            # One sample a process: the tool has no repetitions. A cache a sequence, as ours.
            room = test.sequences * (test.depth + test.generate)
            return [self.folder / "llama-batched-bench", "-m", model, "-npp", test.depth, "-ntg", test.generate, "-npl",
                    test.sequences, "-c", max(room, 512), "-no-kvu", "-t", threads, "-tb", threads, "--output-format", "jsonl"]
        return [self.folder / "llama-bench", "-m", model, "-p", test.prompt, "-n", test.generate, "-d", test.depth,
                "-r", samples, "-t", threads, "-o", "jsonl"]

    @staticmethod
    def read_speed(output, test):
        if test.batched:
            rows = [row for row in json_lines(output, "llama-batched-bench") if row["pl"] == test.sequences]
            if not rows:
                raise Problem(f"llama-batched-bench: no row for {test.sequences} sequences")
            return [float(row["speed_tg"]) for row in rows]
        rows = [row for row in json_lines(output, "llama-bench")
                if (row["n_prompt"], row["n_gen"]) == (test.prompt, test.generate)]
        if not rows:
            raise Problem(f"llama-bench: no row for {test.name}")
        return [float(sample) for sample in rows[0]["samples_ts"]]

    def first_token(self, model, threads, context, prompt):
        return [self.folder / "llama-completion", "-m", model, "-t", threads, "-c", context, "-n", 1, "--no-warmup", "-no-cnv",
                "-p", prompt]

    def perplexity(self, model, text, threads, windows):
        return [self.folder / "llama-perplexity", "-m", model, "-f", text, "-c", 512, "--chunks", windows, "-t", threads]

    @staticmethod
    def read_perplexity(output):
        found = FINAL_PERPLEXITY.findall(output)
        if not found:
            raise Problem("llama-perplexity: no 'Final estimate' in its output")
        return float(found[-1])
