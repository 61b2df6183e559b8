// One line per step; the first that fails ends the script.
import assert from "node:assert/strict";

export const site = process.env.HEIST_SITE;
export const guest = { id: process.env.GUEST_ID, secret: process.env.GUEST_SECRET };
export { assert };

export async function step(name, work) {
  try {
    const value = await work();
    console.log(`ok    ${name}`);
    return value;
  } catch (error) {
    console.log(`FAIL  ${name}: ${error?.stack ?? error}`);
    process.exit(1);
  }
}

// Switches a tool as an operator does.
export async function turn(tool, on) {
  const headers = { Authorization: `Bearer ${process.env.OPERATOR_TOKEN}` };
  const answer = await fetch(`${site}/admin/tools/${tool}`, { method: on ? "PUT" : "DELETE", headers });
  assert.equal(answer.status, 204);
}

export async function within(milliseconds, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
