// Elements without markup: every text goes in as text, so that nothing an agent says can become part of the page.

export const $ = (id) => document.getElementById(id);
const there = (one) => one !== null && one !== undefined && one !== false;
const maker = (create) => new Proxy({}, { get: (_, name) => (...parts) => dress(create(name), parts) });

// h.p({ class: "x" }, "text", otherElement), h.p("text"); what is not there is left out. The same for a drawing: svg.line(…).
export const h = maker((name) => document.createElement(name));
const { namespaceURI } = $("drawing");
export const svg = maker((name) => document.createElementNS(namespaceURI, name));

function dress(made, parts) {
  const attributes = parts[0]?.constructor === Object ? parts.shift() : {};
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "click") made.addEventListener("click", value);
    else if (there(value)) made.setAttribute(key, value);
  }
  made.append(...parts.filter(there));
  return made;
}

export const button = (text, click, attributes = {}) => h.button({ type: "button", click, ...attributes }, text);

export const pill = (words, kind = "") => h.span({ class: `pill ${kind}` }, words);

// Who speaks: a model, or a simulated crew, which is always said.
export const speaker = ({ simulated, model }) => simulated ? pill("simulated", "simulated") : pill(model);

// Puts children in place of those that are there. What somebody has opened stays open, and the focus where it is.
export function fill(container, ...children) {
  const controls = () => [...container.querySelectorAll("a, button, summary, input, [tabindex]")];
  const opened = [...container.querySelectorAll("details[open]")].map((one) => one.dataset.key);
  const at = controls().indexOf(document.activeElement);
  container.replaceChildren(...children.filter(there));
  container.querySelectorAll("details").forEach((one) => { if (one.dataset.key && opened.includes(one.dataset.key)) one.open = true; });
  if (at >= 0) controls()[at]?.focus({ preventScroll: true });
}

export const options = (select, pairs) => select.append(...pairs.map(([value, words]) => h.option({ value }, words)));

export const toSession = (id) => h.a({ href: `/s/${id}` }, id);

// The API of a session.
export const api = (id, rest = "") => `/api/sessions/${encodeURIComponent(id)}${rest}`;

export function time(iso) {
  return h.time({ datetime: iso, title: iso }, new Date(iso).toLocaleTimeString([], { hour12: false }));
}

export const percent = (share) => `${Math.round(share * 100)} %`;

// A call of the API; a refusal is shown in its own words and answers null.
export async function call(path, body, method) {
  const answer = await request(path, body, method);
  if (!answer) return refuse("The server does not answer. It may have been stopped.");
  const content = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) return refuse(content.detail ?? `The server answered ${answer.status}.`);
  $("problem").hidden = true;
  return content;
}

// The same without a complaint: null for whatever goes wrong.
export async function quietly(path, body) {
  const answer = await request(path, body);
  return answer?.ok ? answer.json() : null;
}

const request = (path, body, method = body === undefined ? "GET" : "POST") => fetch(path, body === undefined ? { method } : {
  method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
}).catch(() => null);

export function refuse(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = false;
  return null;
}

export function save(name, type, text) {
  const link = h.a({ download: name, href: URL.createObjectURL(new Blob([text], { type })) });
  link.click();
  URL.revokeObjectURL(link.href);
}

// The page that is no session and no lobby, with its title.
export function page(title) {
  document.title = `heist: ${title}`;
  $("page").hidden = false;
  return $("page");
}

// A dialog with a title, that gives the focus back when it closes.
export function ask(title, ...children) {
  const close = button("Close", () => $("dialog").close());
  $("dialog").replaceChildren(h.h2({ id: "dialog-title" }, title), ...children, close);
  if (!$("dialog").open) $("dialog").showModal();
}
