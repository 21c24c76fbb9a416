// The frame of the page: which view the address names, the connection, the buttons.
import { h, patch } from "/static/dom.js";
import { Live } from "/static/live.js";
import * as overview from "/static/overview.js";
import * as coverage from "/static/coverage.js";
import * as market from "/static/market.js";

const VIEWS = { "/": overview, "/coverage": coverage, "/market": market };
const main = document.getElementById("view");
const said = document.getElementById("said");
let view = null;
let values = {};
let errors = {};
// Values that come close together are drawn together.
const DRAW_MS = 50;
let soon = null;
const LOST = "the connection is lost: what is shown is old";
let lost = false;

/** The address with some parameters changed, as links and forms want it. */
function show(address, push = true) {
  if (push) history.pushState(null, "", address);
  view?.left?.();
  view = VIEWS[location.pathname] ?? overview;
  document.title = `${view.title} · tickwire`;
  values = {};
  errors = {};
  // What was said was said of the former view.
  said.textContent = "";
  main.replaceChildren();
  drawViews();
  draw();
  watch();
}

function watch() {
  live.watch(view.names(new URLSearchParams(location.search)));
}

function drawViews() {
  patch(document.getElementById("views"), Object.entries(VIEWS).map(([path, each]) =>
    h("a", { href: path, "aria-current": each === view ? "page" : null }, each.title)));
}

function draw() {
  const query = new URLSearchParams(location.search);
  // One reason may be that of all.
  const failed = new Set(Object.values(errors).filter(Boolean));
  patch(main, [
    h("div", { id: "errors", role: "status", "aria-live": "polite" }, [...failed].map((each) => h("p", { class: "bad" }, `✖ ${each}`))),
    h("div", { id: "content" }, view.draw(values, query, lost ? Object.fromEntries(live.names.map((name) => [name, LOST])) : errors)),
  ]);
  view.drawn?.(values, query);
  // What ends with today begins there.
  for (const each of main.querySelectorAll(".scroll.ends:not([data-scrolled])")) {
    each.dataset.scrolled = "";
    each.scrollLeft = each.scrollWidth;
  }
}

function take(name, data, error) {
  if (error) errors[name] = error;
  else { errors[name] = ""; values[name] = data; }
  soon ??= setTimeout(() => { soon = null; draw(); }, DRAW_MS);
}

function told(connected, why) {
  const place = document.getElementById("connection");
  place.className = connected ? "" : "lost";
  place.textContent = connected ? "connected" : why || LOST;
  if (lost === connected) { lost = !connected; draw(); }
}

// What was asked and is not answered yet: it is not asked again. The button keeps the focus.
const asking = new Set();

async function act(button) {
  const { do: action, body } = button.dataset;
  const wanted = `${action} ${body}`;
  if (asking.has(wanted)) return;
  asking.add(wanted);
  said.textContent = "asked …";
  try {
    // The page's own address may have a password in it, with which no request can be made.
    const answer = await fetch(`${location.origin}/do/${action}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body,
    });
    const { text } = await answer.json();
    said.textContent = answer.ok ? text : `✖ ${text}`;
  } catch (error) {
    said.textContent = `✖ the page's server does not answer: ${error.message}`;
  } finally {
    asking.delete(wanted);
  }
}

document.addEventListener("redraw", draw);
document.addEventListener("change", draw);
// A view may watch other things as one types.
document.addEventListener("input", (event) => view.typed?.(event.target, () => { watch(); draw(); }));

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (button) { act(button); return; }
  const link = event.target.closest("a[href^='/']");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    show(link.getAttribute("href"));
    main.focus();
  }
});

// A form changes the query of its view's address.
document.addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = [...new FormData(event.target)].filter(([, value]) => value);
  const query = view.asked?.(Object.fromEntries(fields), new URLSearchParams(location.search)) ?? new URLSearchParams(fields);
  show(`${location.pathname}?${query}`);
});

// Arrow keys within a map of cells.
document.addEventListener("keydown", (event) => {
  const cell = event.target.closest?.("table.map button");
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!cell || !step) return;
  const row = cell.closest("tr");
  const rows = [...row.parentElement.rows];
  const next = rows[rows.indexOf(row) + step[1]]?.cells[cell.closest("td").cellIndex + step[0]]?.querySelector("button");
  if (next) { event.preventDefault(); next.focus(); }
});

const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
if (kept()) document.documentElement.dataset.theme = kept();
document.getElementById("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* Kept for this tab only. */ }
  draw();
});

window.addEventListener("popstate", () => show(null, false));
const live = new Live(take, told);
show(null, false);
