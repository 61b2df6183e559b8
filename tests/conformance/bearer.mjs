// Loaded before the conformance suite, which knows of no tokens: puts one on each request to our server.
import { subscribe } from "node:diagnostics_channel";

const { port } = new URL(process.env.HEIST_SITE);
const authorization = `Bearer ${process.env.GUEST_TOKEN}`;

subscribe("undici:request:create", ({ request }) => {
  if (String(request.origin).endsWith(`:${port}`)) request.addHeader("authorization", authorization);
});
subscribe("http.client.request.created", ({ request }) => {
  if (String(request.port ?? request.getHeader("host")).endsWith(port) && !request.headersSent) {
    request.setHeader("authorization", authorization);
  }
});
