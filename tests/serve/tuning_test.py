#!/usr/bin/env python3
"""Fine-tuning on a running server: files, jobs, adapters that are served when they are done."""
import json
import time

import server_program
from server_program import ServerTest, program

KEYS = """keys:
  - {name: alice, key: alice-secret-alice, scopes: [infer, adapters, admin]}
  - {name: bob, key: bob-secret-bob-bob, scopes: [infer, adapters, admin]}
  - {name: carol, key: carol-secret-carol, scopes: [infer, adapters]}
"""
ALICE = {"Authorization": "Bearer alice-secret-alice"}
BOB = {"Authorization": "Bearer bob-secret-bob-bob"}
CAROL = {"Authorization": "Bearer carol-secret-carol"}
# A line that the model does not know, so that a few steps on it show.
LINES = [{"prompt": "The colour of the sky over the old mill was", "completion": " green green green green green."}] * 8
TUNING = {"method": "lora", "settings": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},
          "learning_rate": 0.01, "max_steps": 12, "max_length": 64, "publish_every": 6}


def form(content, filename="train.jsonl", purpose="fine-tune", more=""):
    head = f'--xyz\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n{more}--xyz\r\n'
    head += f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'
    return head.encode() + content + b"\r\n--xyz--\r\n"


class Tuning(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        keys = cls.folder / "keys.yaml"
        keys.write_text(KEYS)
        keys.chmod(0o600)
        (cls.folder / "data").mkdir()
        (cls.folder / "data" / "set.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
        (cls.folder / "secret.jsonl").write_text(json.dumps(LINES[0]) + "\n")
        cls.config = cls.folder / "serve.yaml"
        cls.config.write_text(f"models: [{{id: base, path: {program.GGUF}}}]\nengine: {{context: 128, sequences: 4}}\n"
                              f"access: {{keys_file: {keys}}}\n"
                              f"tuning: {{folder: {cls.folder}/tuning, roots: [{cls.folder}/data], max_files: 1MiB}}\n")
        cls.server = cls.start("--config", cls.config, headers=ALICE)

    def ask(self, method, path, body=None, headers=ALICE, server=None):
        return (server or self.server).ask(method, path, body, headers)

    def upload(self, content=None, headers=ALICE, **form_fields):
        content = content if content is not None else "".join(json.dumps(line) + "\n" for line in LINES).encode()
        return self.ask("POST", "/v1/files", form(content, **form_fields),
                        {**headers, "Content-Type": "multipart/form-data; boundary=xyz"})

    def begin(self, server=None, **fields):
        body = {"model": "base", "training_file": "data:set.jsonl", "tuning": TUNING, **fields}
        return self.ask("POST", "/v1/fine_tuning/jobs", body, server=server)

    def wait(self, job, states=("succeeded", "failed", "cancelled"), server=None):
        end = time.monotonic() + server_program.WAIT_S
        while time.monotonic() < end:
            answer = self.ask("GET", f"/v1/fine_tuning/jobs/{job}", server=server)[1]
            if answer["status"] in states:
                return answer
            time.sleep(0.05)
        self.fail(f"{job} does not end: {answer}")

    def complete(self, model, server=None):
        body = {"model": model, "prompt": LINES[0]["prompt"], "max_tokens": 8, "temperature": 0}
        status, answer = self.ask("POST", "/v1/completions", body, server=server)
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["text"]

    def test_files_are_kept_listed_and_deleted(self):
        content = b"a\r\n\x00\xff"
        status, file = self.upload(content, filename="odd name.txt")
        self.assertEqual((status, file["bytes"], file["filename"], file["purpose"]), (200, 5, "odd name.txt", "fine-tune"))
        self.assertIn(file["id"], [entry["id"] for entry in self.ask("GET", "/v1/files")[1]["data"]])
        self.assertEqual(self.server.request("GET", f"/v1/files/{file['id']}/content", headers=ALICE)[2], content)
        for method, path in (("GET", f"/v1/files/{file['id']}"), ("DELETE", f"/v1/files/{file['id']}")):
            self.assertEqual(self.ask(method, path, headers=BOB)[0], 404, "a file of somebody else")
            self.assertEqual(self.ask(method, path, headers=CAROL)[0], 403, "a key without the scope")
        self.assertEqual(self.ask("DELETE", f"/v1/files/{file['id']}")[1]["deleted"], True)
        self.assertEqual(self.ask("GET", f"/v1/files/{file['id']}")[0], 404)

    def test_uploads_that_are_refused(self):
        self.assertEqual(self.upload(purpose="assistants")[0], 400)
        self.assertEqual(self.upload(filename="")[0], 400)
        for name in ("rows", "rows.parquet", "jsonl"):
            status, answer = self.upload(filename=name)
            self.assertEqual((status, ".jsonl" in answer["error"]["message"]), (400, True), name)
        self.assertEqual(self.ask("DELETE", f"/v1/files/{self.upload(filename='ROWS.JSONL')[1]['id']}")[0], 200)
        unknown = '--xyz\r\nContent-Disposition: form-data; name="expires_after"\r\n\r\n1\r\n'
        status, answer = self.upload(more=unknown)
        self.assertEqual((status, "expires_after" in answer["error"]["message"]), (400, True))
        self.assertEqual(self.ask("POST", "/v1/files", {"file": "x"})[0], 400)
        self.assertEqual(self.upload(b"x" * (1 << 20))[0], 503)  # all files together
        for path in ("..%2f..%2fserve.yaml", "file-%2e%2e%2fx", "file-"):
            self.assertIn(self.ask("GET", f"/v1/files/{path}")[0], (400, 404), path)

    def test_f35_data_sets_come_from_uploads_and_configured_folders_alone(self):
        for name in ("/proc/self/environ", "../secret.jsonl", "data:../secret.jsonl", f"data:{self.folder}/secret.jsonl",
                     "data:/proc/self/environ", "data:", "http://127.0.0.1/x", "file:///proc/self/environ"):
            status, answer = self.begin(training_file=name)
            self.assertEqual(status, 403, (name, answer))
            if str(self.folder) not in name:
                self.assertNotIn(str(self.folder), json.dumps(answer))
        link = self.folder / "data" / "link.jsonl"
        link.symlink_to(self.folder / "secret.jsonl")
        self.assertEqual(self.begin(training_file="data:link.jsonl")[0], 403, "a link that leads out")
        self.assertEqual(self.begin(validation_file="data:none.jsonl")[1]["error"]["param"], "validation_file")
        self.assertEqual(self.begin(training_file="file-" + "x" * 24)[0], 404)

    def test_requests_that_are_refused_name_the_field(self):
        for fields, named in (({"model": "none"}, "none"), ({"learning": 1}, "learning"), ({"suffix": "a b"}, "suffix"),
                              ({"hyperparameters": {"n_epochs": 0}}, "n_epochs"), ({"seed": -1}, "seed"),
                              ({"hyperparameters": {"lr": 1}}, "lr"), ({"tuning": {"metod": "lora"}}, "metod"),
                              ({"tuning": {"method": "lroa"}}, "lroa"), ({"tuning": {"settings": {"rnak": 4}}}, "rnak"),
                              ({"tuning": {"settings": {"r": "x"}}}, "r: 'x'"), ({"tuning": {"schedule": "cosin"}}, "schedule"),
                              ({"method": {"type": "dpo"}}, "method"), ({"integrations": [{"type": "wandb"}]}, "integrations")):
            status, answer = self.begin(**fields)
            self.assertIn(status, (400, 404), answer)
            self.assertIn(named, answer["error"]["message"])

    def test_a_job_that_cannot_run_fails_with_the_reason(self):
        for tuning, named in (({"method": "lora", "settings": {"target_modules": ["rnak"]}}, "'rnak' names no module"),
                              ({"method": "full"}, "makes a whole model")):
            ended = self.wait(self.begin(tuning=tuning)[1]["id"])
            self.assertEqual((ended["status"], ended["fine_tuned_model"]), ("failed", None))
            self.assertIn(named, ended["error"]["message"])

    def test_an_adapter_is_served_when_its_job_is_done(self):
        before = self.complete("base")
        file = self.upload()[1]["id"]
        status, job = self.begin(training_file=file, suffix="mill", metadata={"for": "a test"})
        self.assertEqual((status, job["object"], job["model"], job["metadata"]),
                         (200, "fine_tuning.job", "base", {"for": "a test"}))
        for path in ("", "/events", "/checkpoints"):
            self.assertEqual(self.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}{path}", headers=BOB)[0], 404)
        while self.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}")[1]["status"] in ("queued", "running"):
            self.assertEqual(self.complete("base"), before, "the base while an adapter is trained")
        ended = self.wait(job["id"])
        self.assertEqual(ended["status"], "succeeded", ended)
        self.assertRegex(ended["fine_tuned_model"], r"^base:ft-mill-[a-z0-9]{8}$")
        self.assertGreater(ended["trained_tokens"], 0)
        self.assertIn("green green", self.complete(ended["fine_tuned_model"]))
        self.assertEqual(self.complete("base"), before)
        self.assertIn(ended["fine_tuned_model"], [m["id"] for m in self.ask("GET", "/v1/models")[1]["data"]])
        events = self.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}/events?limit=1000")[1]["data"]
        losses = [event["data"]["train_loss"] for event in events if (event["data"] or {}).get("train_loss") is not None]
        self.assertGreater(losses[-1], losses[0])  # newest first
        points = self.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}/checkpoints")[1]["data"]
        self.assertEqual([point["step_number"] for point in points], [6])
        self.complete(points[0]["fine_tuned_model_checkpoint"])
        page = self.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}/events?limit=1")[1]
        rest = self.ask("GET", f"/v1/fine_tuning/jobs/{job['id']}/events?limit=1000&after={page['last_id']}")[1]
        self.assertTrue(page["has_more"])
        self.assertEqual(len(rest["data"]) + 1, len(events))

    def test_a_running_job_can_be_ended(self):
        job = self.begin(tuning={**TUNING, "max_steps": 100000})[1]["id"]
        self.wait(job, states=("running",))
        self.assertEqual(self.ask("POST", f"/v1/fine_tuning/jobs/{job}/cancel", headers=BOB)[0], 404)
        self.assertEqual(self.ask("POST", f"/v1/fine_tuning/jobs/{job}/cancel")[1]["status"], "cancelled")
        ended = self.wait(job)
        self.assertEqual((ended["status"], ended["fine_tuned_model"]), ("cancelled", None))
        self.assertEqual(self.ask("POST", f"/v1/fine_tuning/jobs/{job}/cancel")[0], 400)

    def test_a_job_goes_on_after_a_restart(self):
        config = self.folder / "again.yaml"
        config.write_text(self.config.read_text().replace("/tuning,", "/again,"))
        first = self.start("--config", config, headers=ALICE)
        tuning = {**TUNING, "max_steps": 400, "publish_every": 0, "checkpoint_every": 5}
        job = self.begin(server=first, tuning=tuning)[1]["id"]
        end = time.monotonic() + server_program.WAIT_S
        while not any("Step 10/" in event["message"] for event in self.events(first, job)):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        first.end()
        second = self.start("--config", config, headers=ALICE)
        ended = self.wait(job, server=second)
        self.assertEqual(ended["status"], "succeeded", ended)
        steps = [event["data"]["step"] for event in self.events(second, job) if event["data"]]
        self.assertEqual(steps.count(1), 1, "the job began anew")
        self.assertIn("green", self.complete(ended["fine_tuned_model"], server=second))

    def events(self, server, job):
        return self.ask("GET", f"/v1/fine_tuning/jobs/{job}/events?limit=1000", server=server)[1]["data"]

    def test_without_a_folder_it_is_off(self):
        server = self.start("--model", program.GGUF)
        status, answer = server.ask("GET", "/v1/fine_tuning/jobs")
        self.assertEqual((status, "tuning.folder" in answer["error"]["message"]), (400, True))


if __name__ == "__main__":
    server_program.main()
