// Keeps a page fresh: events say that something has changed, and the changed part is fetched as it is to be shown.
"use strict";
(() => {
  const main = document.querySelector("main[data-live]");
  if (!main) return;
  const live = document.getElementById("live");
  const state = document.getElementById("link-state");
  const pause = 1000;
  let due = false, busy = false;

  async function refresh() {
    if (busy) { due = true; return; }
    busy = true; due = false;
    try {
      const answer = await fetch(main.dataset.live + location.search, { headers: { Accept: "text/html" } });
      if (answer.status === 401) { location.href = "/sign-in"; return; }
      if (answer.ok) swap(await answer.text());
    } catch { /* the stream says when the service is there again */ }
    setTimeout(() => { busy = false; if (due) refresh(); }, pause);
  }

  function swap(html) {
    const focused = document.activeElement && live.contains(document.activeElement) ? document.activeElement.id : "";
    const scrolled = [...live.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
    live.innerHTML = html;
    [...live.querySelectorAll(".scroll")].forEach((each, i) => {
      if (scrolled[i]) [each.scrollLeft, each.scrollTop] = scrolled[i];
    });
    const again = focused && document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
  }

  const events = new EventSource(main.dataset.events);
  for (const name of ["summary", "decision", "move", "launch", "action"]) events.addEventListener(name, refresh);
  events.onopen = () => { state.textContent = "live"; refresh(); };
  events.onerror = () => { state.textContent = "connection lost, trying again"; };
  // Ages and the time until something happens go on even when nothing does.
  setInterval(refresh, 10000);

  const ask = document.getElementById("ask");
  if (!ask) return;
  const form = ask.querySelector("form"), error = document.getElementById("ask-error");
  const limits = document.getElementById("ask-limits");
  let wanted = null;

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (!button) return;
    wanted = button.dataset;
    form.reset();
    document.getElementById("ask-title").textContent = wanted.title;
    document.getElementById("ask-text").textContent = wanted.text;
    limits.hidden = !wanted.limits;
    if (wanted.limits) {
      form.elements.min_instances.value = wanted.min;
      form.elements.max_instances.value = wanted.max;
    }
    error.textContent = "";
    ask.showModal();
    (wanted.limits ? form.elements.min_instances : form.elements.why).focus();
  });
  document.getElementById("ask-no").addEventListener("click", () => ask.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const why = form.elements.why.value.trim();
    if (!why) { error.textContent = "Say why: it goes on record."; form.elements.why.focus(); return; }
    const body = { why };
    if (wanted.limits) {
      for (const name of ["min_instances", "max_instances"]) {
        const value = form.elements[name].value;
        body[name] = value === "" ? null : Number(value);
      }
    }
    const path = wanted.id ? `/instances/${encodeURIComponent(wanted.id)}:${wanted.do}` : `/${wanted.do}`;
    try {
      const answer = await fetch(main.dataset.api + path, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
      });
      if (answer.ok) { ask.close(); refresh(); return; }
      const problem = await answer.json();
      error.textContent = [problem.detail, ...problem.errors.map((each) => `${each.path}: ${each.message}`)].join("; ");
    } catch { error.textContent = "The service does not answer."; }
  });
})();
