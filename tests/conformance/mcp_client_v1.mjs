// The official TypeScript SDK in its older line, which most programs still use: sessions only.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { ClientCredentialsProvider } from "@modelcontextprotocol/sdk/client/auth-extensions.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { assert, guest, site, step, turn, within } from "./steps.mjs";

const client = new Client({ name: "conformance", version: "1" });
let told = () => {};
client.setNotificationHandler(ToolListChangedNotificationSchema, () => told());
const names = async () => (await client.listTools()).tools.map((tool) => tool.name);
const change = async (on) => {
  const once = new Promise((resolve) => (told = resolve));
  await turn("calculator", on);
  await within(5000, once);
  return names();
};

await step("v1: finds the token and connects", () =>
  client.connect(
    new StreamableHTTPClientTransport(new URL(`${site}/mcp`), {
      authProvider: new ClientCredentialsProvider({
        clientId: guest.id,
        clientSecret: guest.secret,
        expectedIssuer: site,
      }),
    }),
  ),
);
await step("v1: the list is what the token opens", async () =>
  assert.deepEqual(await names(), ["calculator", "file_reader"]),
);
await step("v1: a call, its result checked against the schema", async () => {
  const answer = await client.callTool({ name: "calculator", arguments: { expression: "6 * 7" } });
  assert.deepEqual(answer.structuredContent, { expression: "6 * 7", value: 42 });
});
await new Promise((resolve) => setTimeout(resolve, 300)); // its stream opens by itself, and nothing says when
await step("v1: told that a tool has gone", async () => assert.deepEqual(await change(false), ["file_reader"]));
await step("v1: told that it is back", async () =>
  assert.deepEqual(await change(true), ["calculator", "file_reader"]),
);
await step("v1: closes", () => client.close());
process.exit(0);
