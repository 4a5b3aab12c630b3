"use strict";

const form = document.querySelector("form");
const said = document.getElementById("said");
const secret = location.hash.slice(1);

function next() {
  const wanted = new URLSearchParams(location.search).get("next");
  if (!wanted) return null;
  try {
    const found = new URL(wanted, location.origin);
    return found.origin === location.origin ? found.href : null;
  } catch {
    return null;
  }
}

if (form.dataset.secret) {
  history.replaceState(null, "", location.pathname);
  if (!secret) {
    said.textContent = form.dataset.broken;
    form.hidden = true;
    for (const way of document.querySelectorAll("[data-way]")) way.hidden = true;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = Object.fromEntries(new FormData(form));
  if (form.dataset.secret) body.secret = secret;
  if (form.dataset.action.endsWith("/setup") || form.dataset.action.endsWith("/accept")) {
    body.language = document.documentElement.lang;
  }
  const button = form.querySelector("button");
  button.disabled = true;
  said.textContent = "";
  try {
    const reply = await fetch(form.dataset.action, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (reply.ok) {
      form.hidden = true;
      said.textContent = form.dataset.done;
      const to = next();
      if (to) location.assign(to);
      return;
    }
    const problem = await reply.json();
    said.textContent = problem.error.message;
  } catch {
    said.textContent = form.dataset.failed;
  } finally {
    button.disabled = false;
  }
});

for (const way of document.querySelectorAll("[data-way]")) {
  way.addEventListener("click", async () => {
    way.disabled = true;
    said.textContent = "";
    try {
      const reply = await fetch(way.dataset.way, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ secret }),
      });
      const told = await reply.json();
      if (reply.ok) location.assign(told.url);
      else said.textContent = told.error.message;
    } catch {
      said.textContent = form.dataset.failed;
    } finally {
      way.disabled = false;
    }
  });
}
