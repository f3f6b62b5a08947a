#!/usr/bin/env python3
"""The official client of the OpenAI API, unchanged, against the real server on a small real model."""
import base64
import json
import os
import struct
import sys
from pathlib import Path

import server_program
from server_program import MODULES, ServerTest, adapters, program

try:
    import openai
except ImportError:
    print("skipped: this Python has no package 'openai' (LLMHOST_SERVE_PYTHON names another)")
    sys.exit(77)

CHAT_MODEL = next(iter(sorted((Path.home() / ".cache/llmhost/models").glob("**/SmolLM2-135M-Instruct*.gguf"))), None)
MESSAGES = [{"role": "user", "content": "Tell me a story."}]
TEMPLATE = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 9}},
          "required": ["name", "age"], "additionalProperties": False}


def client_of(server):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0, timeout=120)


class Client(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.adapters = cls.folder / "adapters"
        adapters.write_adapter(cls.adapters / "one", MODULES, 8, 1)
        template = cls.folder / "template.jinja"
        template.write_text(TEMPLATE)
        cls.server = cls.start("--model", program.FOLDER, "--context", 512, "--adapters", cls.adapters, "--chat-template", template)
        cls.client = client_of(cls.server)
        cls.model = cls.client.models.list().data[0].id

    def test_models(self):
        ids = [model.id for model in self.client.models.list()]
        self.assertIn(f"{self.model}:one", ids)
        self.assertEqual(self.client.models.retrieve(self.model).id, self.model)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("none")

    def test_a_stream_is_the_whole_answer_and_a_seed_repeats_it(self):
        asked = {"model": self.model, "messages": MESSAGES, "max_tokens": 24, "seed": 7, "temperature": 1}
        whole = self.client.chat.completions.create(**asked)
        stream = list(self.client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(stream[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(whole.usage.completion_tokens, 24)
        self.assertEqual(whole.choices[0].finish_reason, "length")

    def test_several_answers(self):
        answer = self.client.chat.completions.create(model=self.model, messages=MESSAGES, n=4, seed=3, max_tokens=12)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2, 3])
        self.assertGreater(len({choice.message.content for choice in answer.choices}), 1)
        texts = {0: "", 1: "", 2: "", 3: ""}
        for chunk in self.client.chat.completions.create(model=self.model, messages=MESSAGES, n=4, seed=3, max_tokens=12, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(texts, {choice.index: choice.message.content for choice in answer.choices})

    def test_logprobs(self):
        answer = self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=8, logprobs=True, top_logprobs=3,
                                                     temperature=0)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 8)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.top_logprobs[0].token, token.token)
            self.assertLessEqual(token.logprob, 0)
        self.assertTrue(b"".join(bytes(token.bytes) for token in content).decode().strip().startswith(
            answer.choices[0].message.content.strip()[:5]))

    def test_completions(self):
        answer = self.client.completions.create(model=self.model, prompt=["Once upon a time", [1, 403, 407]], max_tokens=6, temperature=0,
                                                logprobs=2, echo=True)
        self.assertEqual(len(answer.choices), 2)
        self.assertTrue(answer.choices[0].text.startswith("Once upon a time"))
        lists = answer.choices[0].logprobs
        self.assertIsNone(lists.token_logprobs[0])
        self.assertTrue(all(value <= 0 for value in lists.token_logprobs[1:]))
        stopped = self.client.completions.create(model=self.model, prompt="Once upon a time", max_tokens=64, temperature=0, stop=["."])
        self.assertNotIn(".", stopped.choices[0].text)
        self.assertEqual(stopped.choices[0].finish_reason, "stop")
        banned = self.client.completions.create(model=self.model, prompt="Once", max_tokens=4, temperature=0, logit_bias={"42": 100})
        self.assertEqual(banned.usage.completion_tokens, 4)

    def test_an_adapter_as_a_model(self):
        base = self.client.completions.create(model=self.model, prompt="Once upon a time", max_tokens=8, logprobs=0, temperature=0)
        adapted = self.client.completions.create(model=f"{self.model}:one", prompt="Once upon a time", max_tokens=8, logprobs=0,
                                                 temperature=0)
        self.assertNotEqual(base.choices[0].logprobs.token_logprobs, adapted.choices[0].logprobs.token_logprobs)
        self.assertEqual(adapted.model_extra["llmhost"]["adapter"], "one")
        self.assertEqual(len(adapted.model_extra["llmhost"]["adapter_digest"]), 64)
        with self.assertRaises(openai.NotFoundError):
            self.client.completions.create(model=f"{self.model}:none", prompt="x")

    def test_structured_output(self):
        answer = self.client.chat.completions.create(
            model=self.model, messages=MESSAGES, max_tokens=200, seed=1,
            response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}})
        value = json.loads(answer.choices[0].message.content)
        self.assertEqual(set(value), {"name", "age"})
        choice = self.client.chat.completions.create(model=self.model, messages=MESSAGES, extra_body={"guided_choice": ["yes", "no"]})
        self.assertIn(choice.choices[0].message.content, ("yes", "no"))
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model=self.model, messages=MESSAGES, response_format={
                "type": "json_schema", "json_schema": {"name": "bad", "schema": {"type": "strnig"}}})

    def test_embeddings(self):
        floats = self.client.embeddings.create(model=self.model, input=["Once upon a time", "The end"], encoding_format="float")
        self.assertEqual(len(floats.data), 2)
        one = self.client.embeddings.create(model=self.model, input="Once upon a time")
        for x, y in zip(floats.data[0].embedding, one.data[0].embedding):
            self.assertAlmostEqual(x, y, places=6)
        self.assertAlmostEqual(sum(x * x for x in one.data[0].embedding), 1, places=4)
        status, raw = self.server.ask("POST", "/v1/embeddings", {"model": self.model, "input": "The end", "encoding_format": "base64"})
        self.assertEqual(status, 200)
        data = base64.b64decode(raw["data"][0]["embedding"])
        for x, y in zip(struct.unpack(f"<{len(data) // 4}f", data), floats.data[1].embedding):
            self.assertAlmostEqual(x, y, places=6)
        with self.assertRaises(openai.BadRequestError):
            self.client.embeddings.create(model=self.model, input="x", dimensions=3)

    def test_responses(self):
        asked = {"model": self.model, "input": "Tell me a story.", "max_output_tokens": 12, "temperature": 0}
        answer = self.client.responses.create(**asked)
        self.assertEqual(answer.status, "incomplete")
        self.assertEqual(answer.incomplete_details.reason, "max_output_tokens")
        text = ""
        types = []
        for event in self.client.responses.create(**asked, stream=True):
            types.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
        self.assertEqual(text, answer.output_text)
        self.assertEqual(types[0], "response.created")
        self.assertEqual(types[-1], "response.incomplete")
        more = self.client.responses.create(model=self.model, input="More", previous_response_id=answer.id, max_output_tokens=4)
        self.assertGreater(more.usage.input_tokens, answer.usage.input_tokens)
        self.assertEqual(self.client.responses.retrieve(answer.id).output_text, answer.output_text)

    def test_errors(self):
        for more, field in (({"temperature": 101}, "temperature"), ({"n": 0}, "n"), ({"extra_body": {"no_such_field": 1}}, "no_such_field"),
                            ({"audio": {"voice": "x", "format": "mp3"}}, "audio"), ({"store": True}, "store")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.client.chat.completions.create(model=self.model, messages=MESSAGES, **more)
            self.assertEqual(caught.exception.body["param"], field)
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="none", messages=MESSAGES)
        self.assertEqual(caught.exception.body["code"], "model_not_found")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model=self.model, messages=[{"role": "user", "content": "dog " * 2000}])
        self.assertEqual(caught.exception.body["code"], "context_length_exceeded")

    def test_every_number_of_the_document_keeps_its_range(self):
        """F20 over HTTP: the bounds come from the served document."""
        document = self.server.ask("GET", "/openapi.json")[1]
        for body, path, base in (("chat", "/v1/chat/completions", {"messages": MESSAGES}), ("completion", "/v1/completions", {"prompt": "x"})):
            for name, schema in document["components"]["schemas"][body]["properties"].items():
                for kind in schema.get("anyOf", []):
                    if "maximum" not in kind:
                        continue
                    for value in (kind["maximum"] + 1, 2**63, 1e308, {}):
                        status, answer = self.server.ask("POST", path, {"model": self.model, **base, name: value})
                        self.assertEqual((status, answer["error"]["param"]), (400, name), value)


class Tools(ServerTest):
    """Tool calls as the client sees them: name and id first, then the arguments as they come."""

    TOOL = {"type": "object", "properties": {"city": {"type": "string", "minLength": 12, "maxLength": 40}}, "required": ["city"],
            "additionalProperties": False}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        template = cls.folder / "tools.jinja"
        template.write_text("{% for t in tools %}{{ t }}{% endfor %}<tool_call>{% for m in messages %}{{ m.content }}\n{% endfor %}")
        cls.server = cls.start("--model", program.FOLDER, "--context", 512, "--chat-template", template)
        cls.client = client_of(cls.server)
        cls.model = cls.client.models.list().data[0].id

    def asked(self, **more):
        return {"model": self.model, "messages": MESSAGES, "tool_choice": "required", "seed": 5, "temperature": 1, "max_tokens": 120,
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": self.TOOL}}], **more}

    def streamed(self, **more):
        """(ids and names, pieces of arguments, how it ended)."""
        begun, pieces, end = [], [], None
        for chunk in self.client.chat.completions.create(**self.asked(**more), stream=True):
            for call in chunk.choices[0].delta.tool_calls or []:
                self.assertEqual(call.index, 0)
                if call.id:
                    self.assertFalse(pieces)
                    begun.append((call.id, call.function.name))
                if call.function.arguments:
                    pieces.append(call.function.arguments)
            end = chunk.choices[0].finish_reason or end
        return begun, pieces, end

    def test_arguments_come_in_pieces_and_are_those_of_the_whole_answer(self):
        choice = self.client.chat.completions.create(**self.asked()).choices[0]
        call = choice.message.tool_calls[0]
        begun, pieces, end = self.streamed()
        self.assertEqual(([name for _, name in begun], end, choice.finish_reason), (["weather"], "tool_calls", "tool_calls"))
        self.assertEqual("".join(pieces), call.function.arguments)
        self.assertGreater(len(pieces), 4)
        self.assertTrue(12 <= len(json.loads(call.function.arguments)["city"]) <= 40)

    def test_a_call_that_was_cut_off_is_no_whole_one(self):
        _, pieces, end = self.streamed(max_tokens=40)
        self.assertEqual(end, "length")
        choice = self.client.chat.completions.create(**self.asked(max_tokens=40)).choices[0]
        self.assertEqual((choice.finish_reason, "".join(pieces)), ("length", choice.message.tool_calls[0].function.arguments))
        with self.assertRaises(json.JSONDecodeError):
            json.loads("".join(pieces))

    def test_events_of_a_response_that_calls(self):
        asked = {"model": self.model, "input": "Tell me a story.", "tool_choice": "required", "temperature": 0,
                 "tools": [{"type": "function", "name": "weather", "parameters": self.TOOL, "strict": True}]}
        events = list(self.client.responses.create(**asked, stream=True, max_output_tokens=120))
        deltas = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
        done = next(event for event in events if event.type == "response.function_call_arguments.done")
        self.assertGreater(len(deltas), 4)
        self.assertEqual("".join(deltas), done.arguments)
        item = events[-1].response.output[-1]
        self.assertEqual((item.type, item.name, item.arguments, item.status), ("function_call", "weather", done.arguments, "completed"))
        cut = self.client.responses.create(**asked, max_output_tokens=40)
        self.assertEqual((cut.status, cut.output[-1].status), ("incomplete", "incomplete"))


class ChatModel(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if CHAT_MODEL is None:
            raise cls.skipTest(cls, "no chat model in the cache")
        cls.server = cls.start("--model", CHAT_MODEL, "--context", 2048)
        cls.client = client_of(cls.server)
        cls.model = cls.client.models.list().data[0].id

    def test_a_question_is_answered_and_counted_as_the_prompt_shown(self):
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        answer = self.client.chat.completions.create(model=self.model, max_tokens=32, temperature=0, messages=messages)
        self.assertTrue(answer.choices[0].message.content)
        shown = self.server.ask("POST", "/apply-template", {"model": self.model, "messages": messages})[1]
        self.assertIn("<|im_start|>user\nWhat is the capital of France?<|im_end|>", shown["prompt"])
        self.assertEqual(answer.usage.prompt_tokens, len(shown["tokens"]))


if __name__ == "__main__":
    os.environ.setdefault("OPENAI_API_KEY", "none")
    server_program.main()
