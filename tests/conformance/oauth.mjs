// oauth4webapi: the authorization server as a strict client sees it, and its tokens as a strict resource server does.
import * as oauth from "oauth4webapi";
import { assert, guest, site, step } from "./steps.mjs";

const plain = { [oauth.allowInsecureRequests]: true };
const client = { client_id: guest.id };
const here = new URL(site);

const as = await step("discovery of the authorization server (RFC 8414)", async () => {
  const response = await oauth.discoveryRequest(here, { algorithm: "oauth2", ...plain });
  return oauth.processDiscoveryResponse(here, response);
});
for (const path of ["", "/mcp"]) {
  await step(`discovery of the protected resource ${path || "/"} (RFC 9728)`, async () => {
    const resource = new URL(site + path);
    const about = await oauth.processResourceDiscoveryResponse(
      resource,
      await oauth.resourceDiscoveryRequest(resource, plain),
    );
    assert.deepEqual(about.authorization_servers, [as.issuer]);
  });
}

async function token(proof, parameters = {}) {
  const response = await oauth.clientCredentialsGrantRequest(as, client, proof, parameters, plain);
  return oauth.processClientCredentialsResponse(as, client, response);
}

for (const [name, proof] of [
  ["client_secret_basic", oauth.ClientSecretBasic(guest.secret)],
  ["client_secret_post", oauth.ClientSecretPost(guest.secret)],
]) {
  const granted = await step(`${name}: a token`, () => token(proof, { resource: site }));
  await step(`${name}: narrowed by scope`, async () => {
    assert.equal((await token(proof, { scope: "files:read" })).scope, "files:read");
  });
  await step(`${name}: the tools that it opens`, async () => {
    const response = await oauth.protectedResourceRequest(
      granted.access_token,
      "GET",
      new URL(`${site}/tools`),
      undefined,
      undefined,
      plain,
    );
    const names = (await response.json()).map((tool) => tool.name);
    assert.deepEqual(names, ["calculator", "file_reader"]);
  });
  await step(`${name}: introspection (RFC 7662)`, async () => {
    const response = await oauth.introspectionRequest(as, client, proof, granted.access_token, plain);
    const worth = await oauth.processIntrospectionResponse(as, client, response);
    assert.equal(worth.active, true);
    assert.equal(worth.client_id, guest.id);
  });
  await step(`${name}: validateJwtAccessToken (RFC 9068) by our public key`, async () => {
    const request = new Request(site, { headers: { Authorization: `Bearer ${granted.access_token}` } });
    const claims = await oauth.validateJwtAccessToken(as, request, site, plain);
    assert.equal(claims.scope, "calculator:use files:read");
  });
  await step(`${name}: the same token is not one for MCP`, async () => {
    const request = new Request(site, { headers: { Authorization: `Bearer ${granted.access_token}` } });
    await assert.rejects(oauth.validateJwtAccessToken(as, request, `${site}/mcp`, plain));
  });
  await step(`${name}: revocation (RFC 7009)`, async () => {
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(as, client, proof, granted.access_token, plain),
    );
    const response = await oauth.introspectionRequest(as, client, proof, granted.access_token, plain);
    assert.equal((await oauth.processIntrospectionResponse(as, client, response)).active, false);
  });
  await step(`${name}: after that the challenge is invalid_token`, async () => {
    const request = oauth.protectedResourceRequest(
      granted.access_token,
      "GET",
      new URL(`${site}/tools`),
      undefined,
      undefined,
      plain,
    );
    await assert.rejects(request, (error) => error.cause[0].parameters.error === "invalid_token");
  });
}
await step("a wrong secret is 401 with a Basic challenge", async () => {
  await assert.rejects(token(oauth.ClientSecretPost("wrong")), (error) => {
    assert.equal(error.status, 401);
    return error.cause[0].scheme === "basic";
  });
});
await step("a scope that does not exist is invalid_scope", async () => {
  await assert.rejects(token(oauth.ClientSecretPost(guest.secret), { scope: "vault:open" }), {
    error: "invalid_scope",
  });
});
