// Keeps the place: whoever logs in on a page comes back to it, after a wrong token too.

const asked = new URLSearchParams(location.search);
const refused = location.pathname === "/login" && asked.has("token");
const form = document.querySelector("form");
form.elements.next.value = location.pathname === "/login" ? asked.get("next") ?? "/" : location.pathname + location.hash;
if (refused) {
  const problem = document.getElementById("problem");
  problem.textContent = "That is not the token of this server. It may be one of an earlier start.";
  problem.hidden = false;
}
