// The official TypeScript SDK, in its line for both eras, with its own provider for client credentials.
import { Client, ClientCredentialsProvider, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { assert, guest, site, step, turn, within } from "./steps.mjs";

const eras = [
  ["legacy", "2025-11-25", "legacy"],
  ["auto", "2026-07-28", "auto"],
  ["pinned", "2026-07-28", { pin: "2026-07-28" }],
];

for (const [name, version, mode] of eras) {
  let told = () => {};
  const client = new Client(
    { name: "conformance", version: "1" },
    {
      versionNegotiation: { mode },
      listChanged: {
        tools: { debounceMs: 0, onChanged: (error, tools) => told(error ?? tools.map((tool) => tool.name)) },
      },
    },
  );
  const change = async (on) => {
    const names = new Promise((resolve) => (told = resolve));
    await turn("calculator", on);
    return within(5000, names);
  };
  const wire = new StreamableHTTPClientTransport(new URL(`${site}/mcp`), {
    authProvider: new ClientCredentialsProvider({ clientId: guest.id, clientSecret: guest.secret, expectedIssuer: site }),
  });
  await step(`${name}: finds the token and connects`, async () => {
    await client.connect(wire);
    assert.equal(client.getNegotiatedProtocolVersion(), version);
  });
  await step(`${name}: the list is what the token opens`, async () => {
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    assert.deepEqual(names, ["calculator", "file_reader"]);
  });
  await step(`${name}: a call, its result checked against the schema`, async () => {
    const answer = await client.callTool({ name: "calculator", arguments: { expression: "6 * 7" } });
    assert.deepEqual(answer.structuredContent, { expression: "6 * 7", value: 42 });
    assert.deepEqual(JSON.parse(answer.content[0].text), answer.structuredContent);
  });
  await step(`${name}: a wrong argument is the tool's error`, async () => {
    const answer = await client.callTool({ name: "calculator", arguments: { expression: "6 */ 7" } });
    assert.equal(answer.isError, true);
  });
  await step(`${name}: an unknown tool is -32602`, async () => {
    await assert.rejects(client.callTool({ name: "safe_cracker", arguments: {} }), { code: -32602 });
  });
  await new Promise((resolve) => setTimeout(resolve, 300)); // its stream opens by itself, and nothing says when
  await step(`${name}: told that a tool has gone`, async () => assert.deepEqual(await change(false), ["file_reader"]));
  await step(`${name}: told that it is back`, async () => {
    assert.deepEqual(await change(true), ["calculator", "file_reader"]);
  });
  await step(`${name}: closes`, () => client.close());
}
process.exit(0);
