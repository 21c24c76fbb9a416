// What is kept: a cell for each key or feed and day; a click has the day fetched.
import { day, h, time } from "/static/dom.js";

export const title = "Coverage";
const DAY_MS = 86_400_000;
const SIGNS = { complete: "✓", quiet: "·", gap: "!", unknown: "?", open: "…", removed: "−" };
const MEANINGS = {
  complete: "complete", quiet: "complete, without trades", gap: "a part is missing", unknown: "nothing is known",
  open: "not ended, known so far", removed: "no longer archived",
};

const name = (query) => {
  const wanted = new URLSearchParams({ days: query.get("days") ?? "30" });
  if (query.get("until")) wanted.set("until", query.get("until"));
  return `coverage?${wanted}`;
};
export const names = (query) => [name(query)];

/** One cell of the map is reached by Tab, the others by arrow keys. */
function cell(row, [state, known], since, at, isFirst) {
  const until = since + DAY_MS;
  const of = `${row.exchange} ${row.symbol} ${row.timeframe ?? "trades"}`;
  const share = state === "gap" ? `, ${Math.floor(known * 100)} % known` : "";
  const body = { exchange: row.exchange, symbol: row.symbol, timeframe: row.timeframe, since, until: until > at ? null : until };
  return h("td", {}, h("button", {
    type: "button", class: `cell ${state}`, title: `${of} ${day(since)}: ${MEANINGS[state]}${share}`,
    "aria-label": `${of} ${day(since)}: ${MEANINGS[state]}${share}; fetch`, "data-do": "fetch", "data-body": JSON.stringify(body),
    tabindex: isFirst ? null : -1,
  }, SIGNS[state]));
}

export function draw(values, query, errors) {
  const data = values[name(query)];
  const old = Boolean(errors[name(query)]);
  const form = h("form", { "aria-label": "Days" },
    h("label", {}, "Days", h("input", { name: "days", type: "number", min: 1, max: 120, value: query.get("days") ?? 30 })),
    h("label", {}, "Until", h("input", { name: "until", type: "date", value: query.get("until") ?? "" })),
    h("button", {}, "Show"));
  if (!data) return [form, h("p", { class: "dim" }, old ? "nothing was read yet" : "reading …")];
  const days = Array.from({ length: data.days }, (_, place) => data.since + place * DAY_MS);
  const head = days.map((each, place) => {
    const date = day(each);
    return h("th", { scope: "col", title: date }, place === 0 || date.endsWith("-01") ? date.slice(5) : date.slice(8));
  });
  return [
    form,
    h("ul", { class: "legend", "aria-label": "Legend" }, Object.entries(SIGNS).map(([state, sign]) =>
      h("li", {}, h("span", { class: `cell ${state}`, "aria-hidden": "true" }, sign), ` ${MEANINGS[state]}`))),
    h("p", { class: "dim" }, `${day(data.since)} to ${day(days.at(-1))} (UTC). Press a day to have what is missing of it fetched; arrow keys move.`),
    old ? h("p", { class: "warn", id: "old" }, `◐ not current: as of ${time(data.at)}`) : null,
    data.damaged.map((each) => h("p", { class: "bad" }, `✖ damaged file: ${each}`)),
    data.rows.length ? h("div", { class: old ? "scroll ends stale" : "scroll ends" }, h("table", { class: "map" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), head)),
      h("tbody", {}, data.rows.map((row, line) => h("tr", { "data-key": `${row.exchange} ${row.symbol} ${row.timeframe}` },
        h("th", { scope: "row" }, `${row.exchange} ${row.symbol} ${row.timeframe ?? "trades"}`),
        row.cells.map((each, place) => cell(row, [each.state, each.known], days[place], data.at, line === 0 && place === days.length - 1)))))))
      : h("p", { class: "dim" }, "nothing is cached yet"),
    data.more ? h("p", { class: "dim" }, `and ${data.more} more`) : null,
    data.remark ? h("p", { class: "dim" }, data.remark) : null,
  ];
}
