#!/usr/bin/env python3
"""schemathesis over the served OpenAPI document: whatever it sends, no answer is a 5xx and every answer fits its schema."""
import subprocess
import sys
from pathlib import Path

import server_program
from server_program import ServerTest, program

RUNNER = Path(sys.executable).with_name("schemathesis")


# Not the phase "coverage": with objects of any content it runs into CPython 3.11's "AST constructor recursion depth mismatch".
class Document(ServerTest):
    def test_no_answer_is_a_server_error(self):
        server = self.start("--model", program.FOLDER, "--context", 256)
        done = subprocess.run(
            [RUNNER, "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks",
             "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance", "--phases", "examples,fuzzing",
             "--max-examples", "40", "--seed", "1", "--request-timeout", "60", "--suppress-health-check", "all", "--workers", "2"],
            cwd=self.folder, capture_output=True, text=True, timeout=1500, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        self.assertEqual(server.ask("GET", "/health")[0], 200)


if __name__ == "__main__":
    if not RUNNER.exists():
        print("skipped: this Python has no package 'schemathesis' (LLMHOST_SERVE_PYTHON names another)")
        sys.exit(77)
    server_program.main()
