// Which page this is, the link to the server, the theme and the keys.

import { $, element } from "./dom.js";
import * as lobby from "./lobby.js";
import * as session from "./session.js";

const path = location.pathname.match(/^\/s\/([^/]+)$/);

function link(word) {
  $("link").textContent = word;
  $("link").className = `pill ${word.replace(" ", "-")}`;
  if (word !== "signed out") return;
  $("problem").replaceChildren(
    "You are signed out: the server was started anew. Open the address that it printed, or ",
    element("a", { href: location.pathname }, "log in here"), ".",
  );
  $("problem").hidden = false;
}

function switchTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", dark ? "light" : "dark");
}

const keys = {
  t: switchTheme,
  ...(path ? session.keys : { s: () => $("start").requestSubmit() }),
};

document.addEventListener("keydown", (key) => {
  // A field keeps every key, a button only those that press it: after a click on Pause, N must still take a step.
  const writing = key.target.closest("input, textarea, select");
  const pressing = [" ", "Enter"].includes(key.key) && key.target.closest("button, a, summary");
  const act = keys[key.key.toLowerCase()];
  if (key.key === "Escape") document.activeElement.blur();
  if (writing || pressing || key.repeat || key.ctrlKey || key.metaKey || key.altKey || !act) return;
  key.preventDefault();
  act();
});

$("theme").addEventListener("click", switchTheme);
if (path) session.open(decodeURIComponent(path[1]), link);
else lobby.open(link);
