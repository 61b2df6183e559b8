// Keeps the place: whoever logs in on a page comes back to it, after a wrong token too. Not a module, so that it listens
// before there is a form: whoever sent the form before a module had come lost the place.

document.addEventListener("submit", (sent) => {
  const asked = new URLSearchParams(location.search);
  const place = location.pathname === "/login" ? asked.get("next") ?? "/" : location.pathname + location.hash;
  sent.target.elements.next.value = place;
});

document.addEventListener("DOMContentLoaded", () => {
  if (location.pathname !== "/login" || !new URLSearchParams(location.search).has("token")) return;
  const problem = document.getElementById("problem");
  problem.textContent = "That is not the token of this server. It may be one of an earlier start.";
  problem.hidden = false;
});
