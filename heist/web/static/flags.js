// What the house has switched off: the page shows nothing of it, and asks nothing of it.

export async function hide() {
  const flags = await fetch("/api/flags").then((answer) => (answer.ok ? answer.json() : {}), () => ({}));
  for (const [name, on] of Object.entries(flags)) document.body.classList.toggle(`without-${name}`, !on);
}

export const without = (name) => document.body.classList.contains(`without-${name}`);
