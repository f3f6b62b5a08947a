#!/usr/bin/env python3
"""llmhost bench and llmhost perplexity: the shape of what they print, a score against a reference."""
import statistics

from command import CommandTest
from program import FOLDER, GGUF, main

TEXT = FOLDER.parents[1] / "text" / "stories_sample.txt"
REFERENCE = [0.457346, 1.023907]  # tests/data/text/README.md


class BenchTest(CommandTest):
    def test_json(self):
        results = self.json("bench", GGUF, "-p", 16, "-n", 4, "-r", 3, "-t", 1)
        self.assertEqual([row["test"] for row in results], ["pp16", "tg4"])
        for row in results:
            self.assertEqual(list(row), ["test", "tokens_per_s", "samples", "warnings"])
            self.assertEqual(len(row["samples"]), 3)
            self.assertTrue(all(sample > 0 for sample in row["samples"]))
            self.assertAlmostEqual(row["tokens_per_s"], statistics.median(row["samples"]))

    def test_names_of_the_tests(self):
        cases = [(("-p", 8, "-n", 0), ["pp8"]), (("-p", 0, "-n", 2, "-d", 8), ["tg2@d8"]),
                 (("-p", 0, "-n", 2, "-b", 3), ["tg2x3"]), (("-p", 600, "-n", 0), ["pp600"])]
        for arguments, names in cases:
            self.assertEqual([row["test"] for row in self.json("bench", GGUF, "-r", 1, *arguments)], names)

    def test_table(self):
        lines = self.output("bench", GGUF, "-p", 8, "-n", 2, "-r", 2, "-t", 2).splitlines()
        self.assertRegex(lines[0], r"stories260K-q8_0\.gguf on .* \(2 threads\)")
        self.assertEqual([line.split()[0] for line in lines[1:]], ["test", "pp8", "tg2"])

    def test_speculation(self):
        results = self.json("bench", GGUF, "-p", 0, "-n", 24, "-r", 2, "--speculate", "lookup", "--draft-tokens", 3)
        self.assertEqual([row["test"] for row in results],
                         ["tg24", "repeat24", "repeat24+lookup", "prose24", "prose24+lookup"])
        for row in results[1:]:
            self.assertGreaterEqual(row["drafted"], row["accepted"])
            self.assertTrue("+" in row["test"] or row["drafted"] == 0)
            self.assertGreaterEqual(row["steps"] + row["accepted"], 24)
        self.refused(2, "at least 2", "bench", GGUF, "-n", 1, "--speculate", "lookup")

    def test_ranges(self):
        for arguments, message in ((("-p", -1), "-p is -1"), (("-b", 0), "-b is 0"), (("-r", 0), "-r is 0"),
                                   (("-p", 0, "-n", 0), "nothing to measure"), (("-p", "many"), "many")):
            self.refused(2, message, "bench", GGUF, *arguments)


class PerplexityTest(CommandTest):
    def test_json(self):
        # 0.3 % is what the reference data allows; f32 weights and state differ in the order of sums alone.
        score = self.json("perplexity", FOLDER, TEXT, "--window", 256)
        self.assertEqual(list(score), ["mean_nll", "perplexity", "tokens", "mean_nll_per_window", "warnings"])
        self.assertEqual(score["tokens"], 512)
        self.assertAlmostEqual(score["mean_nll"], 0.7406264, delta=0.003 * 0.7406264)
        for actual, expected in zip(score["mean_nll_per_window"], REFERENCE, strict=True):
            self.assertAlmostEqual(actual, expected, delta=1e-5)
        text = self.output("perplexity", FOLDER, TEXT, "--window", 256)
        self.assertRegex(text, r"^mean NLL 0\.740\d+, perplexity 2\.09\d+ over 512 tokens in 2 windows\n$")

    def test_quantised_weights(self):
        # Q8_0 rounds the weights by less than 0.4 %; on this text the score moves by less than 1 %.
        score = self.json("perplexity", GGUF, TEXT, "--window", 256)
        self.assertAlmostEqual(score["mean_nll"], 0.7406264, delta=0.01 * 0.7406264)

    def test_windows(self):
        score = self.json("perplexity", FOLDER, TEXT, "--window", 256, "--windows", 1)
        self.assertAlmostEqual(score["mean_nll"], REFERENCE[0], delta=1e-5)
        self.assertEqual(len(score["mean_nll_per_window"]), 1)

    def test_context_that_is_not_scored(self):
        # BOS and 256 tokens: 257 less the first hundred; with BOS inside there are 256 in all.
        after = self.json("perplexity", FOLDER, TEXT, "--window", 256, "--windows", 1, "--skip", 100)
        self.assertEqual(after["tokens"], 157)
        inside = self.json("perplexity", FOLDER, TEXT, "--window", 256, "--windows", 1, "--skip", 100, "--bos-inside")
        self.assertEqual(inside["tokens"], 156)
        # The first window starts with BOS either way, so all but its last token are the same and so are their scores.
        first = self.json("perplexity", FOLDER, TEXT, "--window", 255, "--windows", 1, "--skip", 100)
        self.assertAlmostEqual(inside["mean_nll"], first["mean_nll"], delta=1e-6)

    def test_refusals(self):
        self.refused(2, "--window must be", "perplexity", FOLDER, TEXT, "--window", 1)
        self.refused(2, "--skip must be", "perplexity", FOLDER, TEXT, "--window", 16, "--skip", 16)
        self.refused(2, "--windows must not", "perplexity", FOLDER, TEXT, "--windows", -1)
        self.refused(1, "none.txt", "perplexity", FOLDER, "none.txt")
        self.refused(1, "at least 2", "perplexity", FOLDER, self.write("empty.txt", ""))


if __name__ == "__main__":
    main()
