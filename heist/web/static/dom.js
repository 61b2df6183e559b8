// Elements without markup: every text goes in as text, so that nothing an agent says can become part of the page.

export const $ = (id) => document.getElementById(id);

// element("p", { class: "x" }, "text", otherElement)
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function time(iso) {
  return element("time", { datetime: iso, title: iso }, new Date(iso).toLocaleTimeString([], { hour12: false }));
}

// A call of the API; a refusal is shown in its own words and answers null.
export async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    return refuse("The server does not answer. It may have been stopped.");
  }
  const content = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) return refuse(content.detail ?? `The server answered ${answer.status}.`);
  $("problem").hidden = true;
  return content;
}

export function refuse(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = false;
  return null;
}
