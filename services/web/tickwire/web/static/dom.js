// Elements from data. Everything that is shown is text of a node, never markup.
// The name of a kind of element, not an address.
const SVG = "http:/" + "/www.w3.org/2000/svg";

/** An element of a drawing. */
export function s(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** An element; `attributes` with null or false are left out. */
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

/**
 * Make the children of `parent` equal to `nodes`; those that stay keep the focus and what was scrolled or typed. An element
 * with `data-kept` belongs to whoever draws in it, and is left alone as long as that value is the same. One with `data-key`
 * becomes no other thing: a button that has the focus is that of the same job, whatever comes and goes above it.
 */
export function patch(parent, nodes) {
  const wanted = nodes.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false);
  wanted.forEach((next, place) => {
    const key = next.dataset?.key;
    const there = key === parent.childNodes[place]?.dataset?.key;
    const same = key === undefined || there ? -1 : [...parent.childNodes].findIndex((each, at) => at >= place && each.dataset?.key === key);
    // What stays is not moved, which would take the focus from it: what comes later is made anew there.
    for (let before = same - place; before > 0; before -= 1) parent.childNodes[place].remove();
    const now = parent.childNodes[place];
    if (now === undefined) parent.append(next);
    else if (now.dataset?.key !== key) now.before(next);
    else if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName) now.replaceWith(next);
    else if (now.nodeType === Node.TEXT_NODE) { if (now.data !== next.data) now.data = next.data; }
    else if (now.dataset.kept !== next.dataset.kept) now.replaceWith(next);
    else if (now.dataset.kept !== undefined) return;
    else {
      for (const { name } of [...now.attributes]) if (!next.hasAttribute(name) && name !== "data-scrolled") now.removeAttribute(name);
      for (const { name, value } of next.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
      patch(now, [...next.childNodes]);
    }
  });
  while (parent.childNodes.length > wanted.length) parent.lastChild.remove();
}

/** A table; `columns` are [title, class], `rows` are lists of texts, nodes or [text, class]; `keys` say what each row is about. */
export function table(label, columns, rows, keys = []) {
  const cell = (each, place) => {
    const [content, kind] = Array.isArray(each) ? each : [each, columns[place][1]];
    return h("td", { class: kind || null }, content);
  };
  return h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: 0 },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { scope: "col", class: kind || null }, title)))),
      h("tbody", {}, rows.map((row, place) => h("tr", { "data-key": keys[place] }, row.map(cell))))));
}

/** A button that sends `body` to `/do/<action>`. */
export function does(action, body, text, label) {
  return h("button", { type: "button", "data-do": action, "data-body": JSON.stringify(body), "aria-label": label ?? null }, text);
}

const DIGITS = new Intl.NumberFormat("en-US", { maximumFractionDigits: 20, useGrouping: false });

/** Numbers of a column in plain digits, with the same number of decimals. */
export function plain(values) {
  const texts = values.map((each) => DIGITS.format(each));
  const decimals = texts.map((each) => (each.split(".")[1] ?? "").length);
  const most = Math.max(0, ...decimals);
  return texts.map((each, place) => (most && !decimals[place] ? `${each}.` : each) + "0".repeat(most - decimals[place]));
}

export const count = (value) => value.toLocaleString("en-US");

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (value >= 1000 && place < units.length - 1) { value /= 1000; place += 1; }
  return `${place ? value.toFixed(1) : value} ${units[place]}`;
}

/** A duration in words, of ms. */
export function age(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.floor(ms / 3_600_000)} h`;
  return `${Math.floor(ms / 86_400_000)} days`;
}

/** A time (ms) in UTC. */
export const time = (ms) => new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z$/, " UTC");
export const day = (ms) => new Date(ms).toISOString().slice(0, 10);
