// Which page this is, the link to the server, the theme and the keys.

import { $, ask, h, refuse } from "./dom.js";
import { hide, without } from "./flags.js";

const [, place = "", name = ""] = location.pathname.split("/").map(decodeURIComponent);
const KEYS = [["Space", "pause, go on; hold the replay"], [".", "one turn"], ["J K", "next message, the one before"], ["N P", "the same, of those with a flag"],
  ["/", "filter: agent:hacker tool:fail flag:yes text"], ["1–6", "one agent alone"], ["[ ]", "one event back, on"], ["{ }", "one round back, on"],
  ["L", "live, and the latest message"], ["C", "command"], ["G", "guess"], ["E", "evidence"], ["S", "start, in the lobby"], ["T", "light or dark"], ["Esc", "leave a field"]];

function link(word) {
  $("link").textContent = word;
  $("link").className = `pill ${word.replace(" ", "-")}`;
  if (word !== "signed out") return;
  $("problem").replaceChildren(
    "You are signed out: the server was started anew. Open the address that it printed, or ",
    h.a({ href: location.pathname }, "log in here"), ".",
  );
  $("problem").hidden = false;
}

function switchTheme() {
  const next = getComputedStyle(document.documentElement).colorScheme === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("theme", next);
}

const help = () => ask("Keys", h.dl({ class: "keys" }, ...KEYS.flatMap(([key, does]) => [h.dt(h.kbd(key)), h.dd(does)])));
const keys = { t: switchTheme, "?": help };

document.addEventListener("keydown", (key) => {
  // A field keeps every key, a button only those that press it: after a click on Pause, a dot must still take a step.
  const writing = key.target.closest("input:not([type=range]), textarea, select, dialog");
  const pressing = [" ", "Enter"].includes(key.key) && key.target.closest("button, a, summary");
  const act = keys[key.key.toLowerCase()];
  if (key.key === "Escape") document.activeElement.blur();
  if (writing || pressing || (key.repeat && !"jknp[]".includes(key.key)) || key.ctrlKey || key.metaKey || (key.altKey && !"[]{}".includes(key.key)) || !act) return;
  key.preventDefault();
  act();
});

$("theme").addEventListener("click", switchTheme);
$("help").addEventListener("click", help);

async function open() {
  const [page] = await Promise.all([import(`./${document.documentElement.dataset.page}.js`), hide()]);
  if (place === "play" && without("blind_play")) return refuse("Blind play is switched off in this house.");
  Object.assign(keys, page.keys);
  page.open(name, link, place === "play");
}

open();
