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

function theme(chosen) {
  if (chosen) document.documentElement.dataset.theme = chosen;
}

function switchTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark";
  localStorage.setItem("theme", dark ? "light" : "dark");
  theme(localStorage.getItem("theme"));
}

const keys = {
  t: switchTheme,
  ...(path ? session.keys : { s: () => $("start").requestSubmit() }),
};

document.addEventListener("keydown", (key) => {
  const typing = key.target.closest("input, textarea, select, button, a, summary");
  if (key.key === "Escape") document.activeElement.blur();
  if (typing || key.ctrlKey || key.metaKey || key.altKey || !keys[key.key]) return;
  key.preventDefault();
  keys[key.key]();
});

theme(localStorage.getItem("theme"));
$("theme").addEventListener("click", switchTheme);
if (path) session.open(decodeURIComponent(path[1]), link);
else lobby.open(link);
