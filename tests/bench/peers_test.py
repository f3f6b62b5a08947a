#!/usr/bin/env python3
"""bench/peers: reading what engines print, ratios and limits, which cells a choice makes, going on after a break, tables."""
import json
import os
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))

import burners  # noqa: E402
import cells  # noqa: E402
import engines  # noqa: E402
import folders  # noqa: E402
import machine  # noqa: E402
import models  # noqa: E402
import plots  # noqa: E402
import process  # noqa: E402
import ratios  # noqa: E402
import report  # noqa: E402
import speed_tests  # noqa: E402
import store  # noqa: E402
import tables  # noqa: E402
from problem import Problem  # noqa: E402


OURS = json.dumps([{"test": "pp512", "tokens_per_s": 2.0, "samples": [1.0, 3.0]},
                   {"test": "tg16@d128x4", "tokens_per_s": 8.5, "samples": [8.5]},
                   {"test": "tg16@d128", "tokens_per_s": 3.5, "samples": [3.5]}])
# As the programs print them; keys that are not read are left out.
LLAMA_BENCH = """{"n_threads": 1, "n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 83.3, "samples_ts": [ 83.302, 84.1 ]}
{"n_threads": 1, "n_prompt": 0, "n_gen": 128, "n_depth": 0, "avg_ts": 29.08, "samples_ts": [ 29.0886 ]}
"""
BATCHED = """llama_context: n_ctx = 2048
0.01 {"n_kv_max": 2048, "pp": 128, "tg": 16, "pl": 4, "n_kv": 576, "speed_pp": 133.1, "t_tg": 0.4, "speed_tg": 39.839745, "speed": 105.6}
"""
PERPLEXITY = "[1]18.7150,[2]21.6512,\n1.56 I Final estimate: PPL = 22.9872 +/- 1.41089\n"


class SpeedTestNames(unittest.TestCase):
    def test_parts(self):
        self.assertEqual(speed_tests.parse("pp512"), speed_tests.SpeedTest("pp512", prompt=512))
        deep = speed_tests.parse("tg32@d4096")
        self.assertEqual((deep.generate, deep.depth, deep.sequences, deep.batched), (32, 4096, 1, False))
        many = speed_tests.parse("tg16@d128x8")
        self.assertEqual((many.generate, many.depth, many.sequences, many.batched), (16, 128, 8, True))

    def test_refused(self):
        for name in ("", "pp", "pp0", "tg", "pp512@d1", "pp512x2", "tg16x2", "tg16@dx2", "TG16", "tg99999999"):
            with self.subTest(name), self.assertRaises(Problem):
                speed_tests.parse(name)


class Output(unittest.TestCase):
    def test_ours(self):
        ours = engines.Ours("llmhost")
        self.assertEqual(ours.read_speed(OURS, speed_tests.parse("pp512")), [1.0, 3.0])
        self.assertEqual(ours.read_speed(OURS, speed_tests.parse("tg16@d128x4")), [8.5])
        self.assertEqual(ours.read_speed(OURS, speed_tests.parse("tg16@d128x1")), [3.5])
        answer = json.dumps({"tokens": [5, 6, 7], "timings": {"generate_ms": 500.0}})
        self.assertEqual(ours.read_answer(answer), ([5, 6, 7], 4.0))
        self.assertEqual(ours.read_perplexity('{"mean_nll": 1.0, "perplexity": 2.5}'), 2.5)
        for bad in ("", "[]", "no JSON"):
            with self.subTest(bad), self.assertRaises(Problem):
                ours.read_speed(bad, speed_tests.parse("pp512"))

    def test_peer(self):
        peer = engines.LlamaCpp(Path("/peer"))
        self.assertEqual(peer.read_speed(LLAMA_BENCH, speed_tests.parse("pp512")), [83.302, 84.1])
        self.assertEqual(peer.read_speed(LLAMA_BENCH, speed_tests.parse("tg128")), [29.0886])
        self.assertEqual(peer.read_speed(BATCHED, speed_tests.parse("tg16@d128x4")), [39.839745])
        self.assertEqual(peer.read_perplexity(PERPLEXITY), 22.9872)
        for output, test in ((LLAMA_BENCH, "tg64"), (BATCHED, "tg16@d128x8"), ("", "pp512"), ('{"broken\n}', "pp512")):
            with self.subTest(test), self.assertRaises(Problem):
                peer.read_speed(output, speed_tests.parse(test))
        with self.assertRaises(Problem):
            peer.read_perplexity("nan")

    def test_the_same_case_is_asked_of_both(self):
        test = speed_tests.parse("tg16@d128x8")
        ours = list(map(str, engines.Ours("llmhost").speed("m", test, 2, 1)))
        peer = list(map(str, engines.LlamaCpp(Path("/peer")).speed("m", test, 2, 1)))
        for command, options in ((ours, ("-n 16", "-d 128", "-b 8", "-t 2")), (peer, ("-ntg 16", "-npp 128", "-npl 8", "-t 2"))):
            for option in options:
                self.assertIn(f" {option} ", " ".join(command) + " ")


class Figures(unittest.TestCase):
    LIMITS = {"gops": {"f32_avx2": 50, "f32_avx512": 100, "bf16_avx512": 200, "int8_avx512vnni": 400},
              "read_gbps": {"16": 80.0, "1024": 20.0}}
    FACTS = {"bytes_per_token": 1e9, "multiplied_parameters": 1e9, "weight_bytes": 1100 << 20}

    def cell(self, test, kind, samples):
        return {"kind": "speed", "model": "m", "type": kind, "test": test, "threads": 1, "errors": {},
                "sides": {ratios.OURS: {test: samples}}}

    def test_medians_and_ratios(self):
        cell = self.cell("pp512", "Q8_0", [1.0, 5.0, 2.0])
        self.assertEqual(ratios.figure(cell, ratios.OURS), 2.0)
        self.assertIsNone(ratios.figure(cell, ratios.PEER))
        self.assertEqual(ratios.ratio(3.0, 2.0), 1.5)
        self.assertIsNone(ratios.ratio(3.0, None))
        self.assertAlmostEqual(ratios.geometric_mean([2.0, 8.0, None]), 4.0)

    def test_shares_of_limits(self):
        share = ratios.share_of_limit(self.cell("tg128", "Q8_0", []), self.FACTS, self.LIMITS, 10.0)
        self.assertAlmostEqual(share, 10e9 / 20e9)
        for kind, peak in (("Q8_0", 400e9), ("BF16", 200e9), ("F16", 100e9)):
            share = ratios.share_of_limit(self.cell("pp512", kind, []), self.FACTS, self.LIMITS, 10.0)
            self.assertAlmostEqual(share, 20e9 / peak)
        self.assertIsNone(ratios.share_of_limit(self.cell("tg16@d128x8", "Q8_0", []), self.FACTS, self.LIMITS, 10.0))

    def test_what_a_token_reads(self):
        tensors = [{"name": "token_embd.weight", "shape": [100, 10], "bytes": 1000},
                   {"name": "blk.0.attn_q.weight", "shape": [10, 10], "bytes": 100},
                   {"name": "blk.0.attn_norm.weight", "shape": [10], "bytes": 40},
                   {"name": "blk.0.ffn_up_exps.weight", "shape": [8, 20, 10], "bytes": 1600}]
        show = {"tensors": tensors, "parameters": 2710,
                "architecture": {"layers": 1, "kv_heads": 1, "head_dim": 10}}
        tied = models.facts(show, 2 / 8)
        self.assertEqual((tied["bytes_per_token"], tied["multiplied_parameters"]), (1000 + 140 + 400, 100 + 400))
        tensors.append({"name": "output.weight", "shape": [100, 10], "bytes": 2000})
        self.assertEqual(models.facts(show, 2 / 8)["bytes_per_token"], 2000 + 140 + 400)


class Choice(unittest.TestCase):
    def test_cells(self):
        found = [cell.key() for cell in cells.expand(["smol"], ["Q4_0"], ["pp512", "busy", "cold"], [1, 2])]
        self.assertEqual(found, ["smol/Q4_0/pp512/t1", "smol/Q4_0/pp512/t2", "smol/Q4_0/busy/tg32/t1", "smol/Q4_0/busy/tg32/t2",
                                 "smol/Q4_0/cold/t2"])
        batched = cells.expand(["gemma"], None, ["batched"], [1])
        self.assertEqual([cell.test for cell in batched], speed_tests.BATCHED)

    def test_some_types_where_none_is_named(self):
        self.assertEqual({cell.type for cell in cells.expand(["smol"], None, ["depth"], [1])}, {"F16", "Q8_0", "Q4_0"})
        self.assertEqual({cell.type for cell in cells.expand(["smol"], ["Q6_K"], ["depth"], [1])}, {"Q6_K"})
        self.assertEqual(cells.expand(["synth"], None, ["perplexity"], [1]), [])

    def test_all(self):
        keys = [cell.key() for cell in cells.expand(models.DEFAULT, None, cells.DEFAULT_TESTS, [1, 2])]
        self.assertEqual(len(keys), len(set(keys)))
        self.assertIn("smol/Q8_0/engines/pp512+tg128/t2", keys)

    def test_refused(self):
        for types, tests in ((["Q9_9"], ["pp512"]), (None, ["quick"])):
            with self.assertRaises(Problem):
                cells.expand(["smol"], types, tests, [1])
        with self.assertRaises(Problem):
            cells.split("smol,large", models.MODELS, "model")


class Running(unittest.TestCase):
    def test_output_and_errors(self):
        done = process.run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"])
        self.assertEqual((done.output, done.errors), ("out\n", "err\n"))
        self.assertGreater(done.peak_rss_mib, 1)
        with self.assertRaisesRegex(Problem, "ended with 3: what is wrong"):
            process.run([sys.executable, "-c", "import sys; print('what is wrong', file=sys.stderr); sys.exit(3)"])
        with self.assertRaisesRegex(Problem, "does not start"):
            process.run(["/no/such/program"])

    def test_timeout_ends_all(self):
        started = time.monotonic()
        with self.assertRaisesRegex(Problem, "stopped after"):
            process.run(["sh", "-c", "sleep 30 & sleep 30"], timeout=0.3)
        self.assertLess(time.monotonic() - started, 10)

    def test_burners_end(self):
        with self.assertRaises(KeyboardInterrupt), burners.busy(1):
            raise KeyboardInterrupt
        self.assertNotIn(os.getpid(), [int(path.read_text().split()[3]) for path in Path("/proc").glob("[0-9]*/stat")
                                       if os.access(path, os.R_OK) and "while True: pass" in self.command(path.parent)])

    @staticmethod
    def command(folder):
        try:
            return (folder / "cmdline").read_text()
        except OSError:
            return ""

    def test_locks(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            with folders.locked(path):
                self.assertTrue((Path(folder) / "model.lock").is_dir())
                with self.assertRaises(Problem), folders.locked(path, patience=0):
                    pass
            self.assertFalse((Path(folder) / "model.lock").exists())
            (Path(folder) / "model.lock").mkdir()
            (Path(folder) / "model.lock" / "pid").write_text("4194305")  # above the largest process number: it died
            with folders.locked(path, patience=5):
                pass


class Results(unittest.TestCase):
    HEADER = {"machine": {"cpu": "A", "cores": 2, "isa": ["avx2", "avx512f"], "system": "S"}, "commit": "c", "program_sha256": "p",
              "peer": "x", "date": "2026-01-02", "command": "cmd", "text": {"name": "T", "bytes": 1, "sha256": ""}}

    def measured(self, folder):
        results = store.Store(Path(folder) / "r.json", self.HEADER, False)
        for name, ours, peer in (("pp512", [20.0, 40.0], [10.0]), ("tg128", [3.0], [6.0])):
            cell = cells.Cell("speed", "smol", "Q8_0", name, 1)
            results.cell(cell.key(), cell.attributes())
            results.add(cell.key(), "llmhost", {name: ours})
            results.add(cell.key(), "llama.cpp", {name: peer})
        results.document["models"]["smol/Q8_0"] = {"title": "Smol", **Figures.FACTS}
        results.document["limits"]["1"] = Figures.LIMITS
        results.save()
        return results

    def test_goes_on(self):
        with tempfile.TemporaryDirectory() as folder:
            before = self.measured(folder)
            with self.assertRaisesRegex(Problem, "--resume"):
                store.Store(before.path, self.HEADER, False)
            after = store.Store(before.path, self.HEADER, True)
            self.assertEqual(after.rounds("smol/Q8_0/pp512/t1", "llmhost"), 1)
            self.assertEqual(after.rounds("smol/Q8_0/pp512/t2", "llmhost"), 0)
            with self.assertRaisesRegex(Problem, "program"):
                store.Store(before.path, {**self.HEADER, "program_sha256": "q"}, True)

    def test_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "r.json"
            document = {"format": store.FORMAT, "a": [1.5, -2e-05, 3], "b": ["x", {"c": []}]}
            store.write_json(path, document)
            self.assertIn("[1.5, -2e-05, 3]", path.read_text())
            self.assertEqual(store.read_json(path), document)
            path.write_text('{"format": 0}')
            with self.assertRaises(Problem):
                store.read_json(path)
            target = store.publish(Path(folder), {**self.HEADER, "command": "x --out /tmp/a/b.json"})
            self.assertEqual(target.name, "peers-a-avx512-2026-01-02.json")
            self.assertIn('"x --out b.json"', target.read_text())

    def test_other_work_is_told(self):
        with tempfile.TemporaryDirectory() as folder:
            results = self.measured(folder)
            for share in (0.03, 0.4, 0.02):
                results.note_busy("smol/Q8_0/pp512/t1", share)
            self.assertEqual(results.document["cells"]["smol/Q8_0/pp512/t1"]["others_busy"], 0.4)
            self.assertIn("before some round of 1 of 2 cells", "\n".join(tables.page(results.document, "r.json", [])))
        self.assertTrue(0 <= machine.busy_share(0.05) <= 1)

    def test_failures_are_told_and_forgotten(self):
        with tempfile.TemporaryDirectory() as folder:
            results = self.measured(folder)
            key = "smol/Q8_0/pp512/t1"
            results.fail(key, "llama.cpp", "broken")
            self.assertEqual(results.document["cells"][key]["errors"], {"llama.cpp": "broken"})
            results.add(key, "llama.cpp", {"pp512": [1.0]})
            self.assertEqual(results.document["cells"][key]["errors"], {})

    def test_tables_and_drawings(self):
        with tempfile.TemporaryDirectory() as folder:
            document = self.measured(folder).document
            page = "\n".join(tables.page(document, "../bench/results/r.json", []))
            self.assertIn("| Smol | Q8_0 | 30 | 10 | **3.00** | 15 % / 5 % |", page)
            self.assertIn("| Smol | Q8_0 | 3 | 6 | **0.50** | 15 % / 30 % |", page)
            self.assertIn("Q8_0 | 3.00, 3.00 |", "\n".join(tables.short(document, "r.json")))
            drawn = {key: text for key, _, text in plots.drawings(document)}
            self.assertEqual(list(drawn), ["prompt", "generation"])
            self.assertIn(">3.00</text>", drawn["prompt"])

    def test_page_is_checked(self):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            for page in (report.PAGE, report.README):
                (root / page).parent.mkdir(exist_ok=True)
                (root / page).write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
            (root / "bench" / "results").mkdir(parents=True)
            results = self.measured(name)
            results.path.rename(root / "bench" / "results" / f"peers-{machine.slug(self.HEADER['machine'])}-2026-01-02.json")
            self.assertEqual(report.write(root), 0)
            self.assertEqual(report.check(root), 0)
            text = (root / report.PAGE).read_text()
            self.assertTrue(text.startswith("before\n") and text.endswith("after\n") and "old" not in text)
            (root / report.PAGE).write_text(text.replace("**3.00**", "**4.00**"))
            self.assertEqual(self.quietly(report.check, root), 1)
            (root / report.PAGE).write_text("no markers")
            with self.assertRaises(Problem):
                report.check(root)

    @staticmethod
    def quietly(function, *arguments):
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            out, sys.stdout = sys.stdout, nowhere
            try:
                return function(*arguments)
            finally:
                sys.stdout = out

    def test_no_folders_are_published(self):
        said = {"a": ["ended (/root/.cache/x/bin/python /work/a.py ~/m/b.gguf 2)"], "command": "./dev bench peers --out /tmp/r.json"}
        self.assertEqual(store.without_paths(said), {"a": ["ended (python a.py b.gguf 2)"], "command": "./dev bench peers --out r.json"})


if __name__ == "__main__":
    unittest.main()
