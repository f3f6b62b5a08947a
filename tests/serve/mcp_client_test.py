#!/usr/bin/env python3
"""The server as an agent's client of the package `mcp` sees it, over HTTP and over standard input and output."""
import sys
import unittest

try:
    import anyio
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client
except ImportError as missing:
    print(f"skipped: {missing}; install the package mcp")
    sys.exit(77)

import server_program
from server_program import ServerTest, program

READ_ONLY = {"list_models", "list_adapters", "generate", "tokenize", "estimate_memory"}
ADMIN = {"load_model", "unload_model", "start_fine_tuning", "list_fine_tuning", "get_fine_tuning", "cancel_fine_tuning"}


async def use_tools(case, client, model):
    """What every transport must do."""
    models = await client.call_tool("list_models", {})
    case.assertEqual(models.structured_content["data"][0]["id"], model)
    answer = await client.call_tool("tokenize", {"model": model, "text": program.PROMPT})
    case.assertIn(str(program.PROMPT_IDS[-1]), answer.content[0].text)
    answer = await client.call_tool("estimate_memory", {"model": model, "context": 64, "sequences": 2})
    case.assertFalse(answer.is_error, answer.content[0].text)
    wrong = await client.call_tool("generate", {"model": "no-such-model", "prompt": "Hi"})
    case.assertTrue(wrong.is_error)
    case.assertIn("no-such-model", wrong.content[0].text)


class Http(ServerTest):
    def test_tools_over_http(self):
        template = self.folder / "template.jinja"
        template.write_text("{{ bos_token }}{{ messages[0].content }}")
        server = self.start("--model", program.GGUF, "--chat-template", template)
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]

        async def run():
            async with Client(f"http://127.0.0.1:{server.port}/mcp") as client:
                names = {tool.name for tool in (await client.list_tools()).tools}
                self.assertEqual(names, READ_ONLY | ADMIN)  # without keys everybody here is the owner
                await use_tools(self, client, model)
                answer = await client.call_tool("generate", {"model": model, "prompt": program.PROMPT, "max_tokens": 8,
                                                             "temperature": 0})
                self.assertTrue(program.GREEDY.startswith(answer.content[0].text), answer.content[0].text)
                self.assertEqual(answer.structured_content["usage"]["completion_tokens"], 8)

        anyio.run(run)

    def test_F50_a_key_without_the_admin_scope_sees_no_tool_that_changes_things(self):
        keys = self.folder / "keys.yaml"
        keys.write_text("keys:\n  - {name: a, key: key-of-a-0123456789, scopes: [infer]}\n")
        keys.chmod(0o600)
        server = self.start("--model", program.GGUF, "--api-key-file", keys)
        headers = {"Authorization": "Bearer key-of-a-0123456789"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        self.assertEqual(server.request("POST", "/mcp", call)[0], 401)
        status, answer = server.ask("POST", "/mcp", call, headers)
        self.assertEqual(status, 200)
        self.assertEqual({tool["name"] for tool in answer["result"]["tools"]}, READ_ONLY)
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "unload_model", "arguments": {"model": "x"}}}
        self.assertIn("error", server.ask("POST", "/mcp", call, headers)[1])


class StandardInput(ServerTest):
    def test_tools_over_standard_input_and_output(self):
        for arguments, expected in (([], READ_ONLY), (["--admin"], READ_ONLY | ADMIN)):
            parameters = StdioServerParameters(command=self.program, env=program.environment(self.folder),
                                               args=["mcp", "--model", str(program.GGUF), *arguments])

            async def run(parameters=parameters, expected=expected):
                async with Client(stdio_client(parameters)) as client:
                    self.assertEqual({tool.name for tool in (await client.list_tools()).tools}, expected)
                    models = await client.call_tool("list_models", {})
                    await use_tools(self, client, models.structured_content["data"][0]["id"])

            anyio.run(run)


if __name__ == "__main__":
    server_program.main()
