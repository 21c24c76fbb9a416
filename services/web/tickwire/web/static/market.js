// Markets side by side: chart, tape and book of each, and buttons that start and stop its feeds.
import { age, count, does, h, plain, table, time } from "/static/dom.js";
import { depth } from "/static/depth.js";
import { state } from "/static/overview.js";

export const title = "Market";
const KINDS = ["trade", "book", "ticker", "candle"];
const TIMEFRAMES = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"];
const MOST = 4;
const TYPED = 128;
const PAUSE_MS = 250;
const OFFERED = 12;
// What is searched: what was typed before the last pause.
let wanted = "";
let pausing = null;

/** Something was typed: search it once there is a pause. */
export function typed(field, again) {
  if (field.name !== "market") return;
  clearTimeout(pausing);
  pausing = setTimeout(() => { wanted = field.value.trim().slice(0, TYPED); again(); }, PAUSE_MS);
}

/** The markets of an address: each `m` is an exchange, a symbol and a timeframe. */
function chosen(query) {
  return query.getAll("m").slice(0, MOST).map((each) => each.trim().split(" ")).filter((each) => each.length > 2)
    .map((each) => ({ exchange: each[0], symbol: each.slice(1, -1).join(" "), timeframe: each.at(-1) }));
}

const liveName = ({ exchange, symbol }) => `market?${new URLSearchParams({ exchange, symbol })}`;
const chartName = (each) => `chart?${new URLSearchParams(each)}`;
const searchName = (text) => `search?${new URLSearchParams({ q: text })}`;
// As the bus has them (tickwire.model.subjects).
const tooLong = ({ exchange, symbol, timeframe }) => exchange.length > 32 || [...symbol].length > 64 || timeframe.length > 5;
export const names = (query) => ["markets", ...(wanted ? [searchName(wanted)] : []), ...chosen(query).filter((each) => !tooLong(each)).flatMap((each) => [liveName(each), chartName(each)])];

/** The query of the address once a market was added. */
export function asked(fields, query) {
  const wanted = new URLSearchParams();
  const [exchange, ...symbol] = fields.market.trim().split(/\s+/);
  const added = `${exchange} ${symbol.join(" ")} ${fields.timeframe}`;
  for (const each of [...query.getAll("m").filter((one) => one !== added), added].slice(-MOST)) wanted.append("m", each);
  return wanted;
}

function without(query, place) {
  const wanted = new URLSearchParams();
  query.getAll("m").forEach((each, at) => { if (at !== place) wanted.append("m", each); });
  return `/market?${wanted}`;
}

function search() {
  return h("form", { "aria-label": "Add a market" },
    h("label", {}, "Market: exchange and symbol, or a part of one",
      h("input", { name: "market", required: true, pattern: "\\s*\\S+\\s+\\S.*", placeholder: "binance BTC/USDT", autocomplete: "off",
        maxlength: TYPED, title: "an exchange, a space, and a symbol", "aria-controls": "found" })),
    h("label", {}, "Timeframe", h("input", { name: "timeframe", required: true, value: TIMEFRAMES[0], list: "timeframes", size: 4, maxlength: 5,
      pattern: "[0-9]+[smhdwMy]", title: "a number and a unit, such as 1m, 4h or 1d" })),
    h("datalist", { id: "timeframes" }, TIMEFRAMES.map((each) => h("option", { value: each }))),
    h("button", {}, "Show"));
}

/** The markets that were found, or those in use: links that show them, too. */
function found(values, query) {
  const timeframe = document.querySelector("input[name=timeframe]")?.value || TIMEFRAMES[0];
  const link = (exchange, symbol, text) => h("li", {},
    h("a", { href: `/market?${asked({ market: `${exchange} ${symbol}`, timeframe }, query)}` }, text));
  const known = values.markets?.markets ?? [];
  const note = (text) => text ? h("p", { class: "warn" }, `▲ ${text}`) : null;
  if (!wanted) {
    return [known.length ? h("ul", { class: "links", "aria-label": "Markets in use" },
      known.slice(0, OFFERED).map(([exchange, symbol]) => link(exchange, symbol, `${exchange} ${symbol}`))) : null, note(values.markets?.remark)];
  }
  const result = values[searchName(wanted)];
  if (!result) return h("p", { class: "dim" }, "searching …");
  const used = (exchange, symbol) => known.some((each) => each[0] === exchange && each[1] === symbol) ? ", in use" : "";
  return [note(result.note), result.venues.map((venue) => h("div", { class: "venue" }, h("h3", {}, venue.exchange),
    venue.note ? note(venue.note) : venue.markets.length ? h("ul", { class: "links", "aria-label": `Markets of ${venue.exchange}` },
      venue.markets.map((each) => link(venue.exchange, each.symbol,
        `${each.symbol}${each.kind === "spot" ? "" : ` (${each.kind ?? "other"})`}${each.active === false ? ", does not trade" : ""}${used(venue.exchange, each.symbol)}`)),
      venue.total > venue.markets.length ? h("li", { class: "dim" }, `and ${count(venue.total - venue.markets.length)} more`) : null)
      : h("div", { class: "dim" }, "no such market", venue.near.length ? ["; did you mean ", h("ul", { class: "links" },
        venue.near.map((each) => link(venue.exchange, each, each)))] : null)))];
}

const reportOf = (live, kind, timeframe = null) => live.feeds.find((each) => each.kind === kind && (each.timeframe ?? null) === timeframe);

function feeds(market, live) {
  const rows = KINDS.map((kind) => {
    const timeframe = kind === "candle" ? market.timeframe : null;
    const body = { kind, exchange: market.exchange, symbol: market.symbol, timeframe };
    const found = reportOf(live, kind, timeframe);
    const label = `${kind} ${market.exchange} ${market.symbol}`;
    return [`${kind}${timeframe ? ` ${timeframe}` : ""}`, found ? [h("span", {}, state(found.state)[0], found.reason ? h("p", { class: "dim reason" }, found.reason) : null), ""]
        : live.error ? state("unknown") : [h("span", { class: "dim" }, "■ does not run"), ""], found?.lag_ms == null ? "–" : age(Math.abs(found.lag_ms)),
      h("span", {}, does("start", body, "start", `start ${label}`), " ", does("stop", body, "stop", `stop ${label}`))];
  });
  return table(`Feeds of ${market.exchange} ${market.symbol}`, [["feed"], ["state"], ["lag", "number"], [""]], rows);
}

/** Whether trades come, and if not, why. */
function tapeState(live) {
  const found = reportOf(live, "trade");
  if (live.error) return h("p", { class: "warn" }, `◐ not live: ${live.error}`);
  if (!found) return h("p", { class: "warn" }, "◐ not live: the feed does not run");
  return h("p", {}, state(found.state)[0]);
}

function tape(market, live) {
  const { tape: rows } = live;
  if (!rows.length) return [tapeState(live), h("p", { class: "dim" }, "no trade yet")];
  const side = { buy: ["▲ buy", "up"], sell: ["▼ sell", "down"] };
  const [prices, amounts] = ["price", "amount"].map((column) => plain(rows.map((each) => each[column] ?? 0)));
  const isLive = ["live", "repairing"].includes(reportOf(live, "trade")?.state);
  return h("div", { class: isLive ? "tape" : "tape stale" }, tapeState(live), live.unit ? h("p", { class: "dim" }, `amounts: ${live.unit}`) : null, table(`Tape of ${market.exchange} ${market.symbol}`, [["time"], ["side"], ["price", "number"], ["amount", "number"], [""]],
    rows.map((each, place) => each.gap
      ? [each.timestamp ? time(each.timestamp).slice(11, 19) : "?", ["! gap", "warn"], "", "", [each.gap, "warn wide"]]
      : [time(each.timestamp).slice(11, 19), side[each.side] ?? "–", prices[place], amounts[place], each.repaired ? ["↻ repaired", "warn"] : ""])));
}

function ladder(market, book) {
  const all = [...book.asks, ...book.bids];
  // A sum has digits that no amount has.
  const columns = [all.map((each) => each.price), all.map((each) => each.amount), all.map((each) => Number(each.total.toPrecision(8)))].map(plain);
  const level = (kind, before) => (each, place) => h("tr", { class: kind },
    columns.map((texts) => h("td", { class: "number" }, texts[before + place])),
    h("td", {}, h("meter", { min: 0, max: 1, value: each.share, "aria-label": `depth ${Math.round(each.share * 100)} %` })));
  return h("div", { class: `scroll ladder ${book.live ? "" : "stale"}`, role: "region", tabindex: 0, "aria-label": `Book of ${market.exchange} ${market.symbol}` },
    h("p", { class: book.live ? "good" : "warn" }, book.live ? "● live" : `◐ not live: ${book.why}`),
    h("table", {}, h("thead", {}, h("tr", {}, ["price", "amount", "total", "depth"].map((each) => h("th", { scope: "col" }, each)))),
      h("tbody", {}, book.asks.map(level("ask", 0)), h("tr", { class: "middle" }, h("td", { colspan: 4 }, "asks above, bids below")), book.bids.map(level("bid", book.asks.length)))));
}

/** What the chart shows, in words. */
function summary(chart) {
  if (!chart.times.length) return "no candle is cached; start the candle feed, or fetch some on the coverage view";
  const last = chart.times.length - 1;
  const gaps = chart.gaps.map(([since, until]) => `${time(since)} to ${time(until)}`);
  return `${count(chart.times.length)} candles; the ${chart.is_open ? "open one" : "last"}, ${time(chart.times[last])}: open ${chart.opens[last]}, `
    + `high ${chart.highs[last]}, low ${chart.lows[last]}, close ${chart.closes[last]}, volume ${chart.volumes[last]}. `
    + (gaps.length ? `Not known: ${gaps.slice(0, 5).join("; ")}${gaps.length > 5 ? ` and ${gaps.length - 5} more` : ""}.` : "Nothing is missing.")
    + (chart.incomplete.length ? ` ${count(chart.incomplete.length)} of the live ones were not wholly observed.` : "");
}

/** Where no more is heard of the candle that is open, in words. */
function oldCandle(market, live, chart) {
  const found = live && reportOf(live, "candle", market.timeframe);
  if (!live || !chart?.is_open || found?.state === "live") return null;
  return h("p", { class: "warn" }, `◐ the open candle is old: its feed ${found ? `is ${found.state}` : "does not run"}`);
}

/** What was last heard of the feeds; where nothing is heard any more, none of it counts as live. */
function shownLive(live, error) {
  if (!live || !error) return live;
  return { ...live, error, ladder: { ...live.ladder, live: false, why: error }, feeds: live.feeds.map((each) => ({ ...each, state: "unknown", lag_ms: null })) };
}

export function draw(values, query, errors) {
  const panels = chosen(query).map((market, place) => {
    const live = shownLive(values[liveName(market)], errors[liveName(market)]);
    const chart = values[chartName(market)];
    const doubt = errors[chartName(market)];
    const name = `${market.exchange} ${market.symbol} ${market.timeframe}`;
    if (tooLong(market)) {
      return h("section", { class: "market" }, h("h2", {}, `${name.slice(0, 80)}… `, h("a", { href: without(query, place), "aria-label": "close this market" }, "✕")),
        h("p", { class: "bad" }, "✖ no market has such a long name"));
    }
    return h("section", { class: "market", "aria-label": name },
      h("h2", {}, `${name} `, h("a", { href: without(query, place), "aria-label": `close ${name}` }, "✕")),
      h("div", { class: doubt ? "stale" : null }, h("div", { class: "chart", "data-kept": name, role: "img", "aria-label": `chart of ${name}` })),
      doubt ? h("p", { class: "warn" }, `◐ not live: ${doubt}`) : oldCandle(market, live, chart),
      h("p", { class: "dim summary" }, chart ? summary(chart) : doubt ? "nothing was read yet" : "reading …"),
      live?.unlisted ? h("p", { class: "bad" }, `✖ ${live.unlisted}`) : null,
      live ? [feeds(market, live),
        h("div", { class: "beside" }, h("div", {}, h("h3", {}, "Book"), ladder(market, live.ladder)),
          h("div", {}, h("h3", {}, "Depth"), depth(name, live.ladder.depth, live.ladder.live) ?? h("p", { class: "dim" }, "no book"), h("h3", {}, "Tape"), tape(market, live)))] : null);
  });
  return [search(), h("div", { id: "found", role: "status", "aria-live": "polite" }, found(values, query)), h("div", { class: "markets" }, panels.length ? panels : h("p", { class: "dim" }, "choose a market"))];
}

let library = null;
/** plotly.js, loaded when the first chart is drawn. */
function plotly() {
  library ??= new Promise((done, failed) => {
    const script = h("script", { src: "/static/plotly.min.js" });
    script.onload = () => done(window.Plotly);
    script.onerror = failed;
    document.head.append(script);
  });
  return library;
}

export async function drawn(values, query) {
  for (const market of chosen(query)) {
    const data = values[chartName(market)];
    const name = `${market.exchange} ${market.symbol} ${market.timeframe}`;
    const place = document.querySelector(`[data-kept="${CSS.escape(name)}"]`);
    if (!data || !place) continue;
    const theme = document.documentElement.dataset.theme ?? "";
    if (place.shown === data && place.theme === theme) continue;
    // A slow machine draws less often: a fifth of the time at most.
    if (place.busy || (place.theme === theme && performance.now() < (place.again ?? 0))) {
      place.waiting ??= setTimeout(() => { place.waiting = null; document.dispatchEvent(new Event("redraw")); }, 250);
      continue;
    }
    place.busy = true;
    const charts = await plotly();
    const began = performance.now();
    try {
      await paint(charts, place, name, data);
      place.shown = data;
      place.theme = theme;
    } finally {
      place.busy = false;
      place.again = performance.now() + Math.min(5000, 4 * (performance.now() - began));
    }
  }
}

/** The view is left: its charts listen to nothing any more. */
export function left() {
  clearTimeout(pausing);
  wanted = "";
  for (const each of document.querySelectorAll(".chart")) window.Plotly?.purge(each);
}

/** Draw candles, volumes and gaps. */
async function paint(charts, place, name, data) {
  const colour = (which) => getComputedStyle(document.documentElement).getPropertyValue(which) && resolved(which);
  const axis = { gridcolor: colour("--line"), linecolor: colour("--line"), zeroline: false };
  await charts.react(place, [
    {
      type: "candlestick", x: data.times, open: data.opens, high: data.highs, low: data.lows, close: data.closes, name: "candles",
      // Rising ones are hollow, falling ones are filled: to be told apart without colours.
      increasing: { line: { color: colour("--up"), width: 1 }, fillcolor: "rgba(0,0,0,0)" },
      decreasing: { line: { color: colour("--down"), width: 1 }, fillcolor: colour("--down") },
    },
    { type: "bar", x: data.times, y: data.volumes, yaxis: "y2", name: "volume", marker: { color: colour("--dim") }, opacity: 0.5 },
  ], {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("--text") }, showlegend: false,
    margin: { l: 10, r: 60, t: 10, b: 45 }, height: 340, uirevision: name, dragmode: "pan",
    xaxis: { ...axis, type: "date", anchor: "y2", rangeslider: { visible: false } },
    yaxis: { ...axis, visible: data.times.length > 0, side: "right", domain: [0.22, 1], tickformat: "~f", fixedrange: false },
    yaxis2: { ...axis, visible: data.times.length > 0, side: "right", domain: [0, 0.18], tickformat: "~s" },
    shapes: data.gaps.map(([since, until]) => ({
      type: "rect", xref: "x", yref: "paper", x0: since, x1: until, y0: 0, y1: 1, layer: "below",
      fillcolor: colour("--warn"), opacity: 0.25, line: { color: colour("--warn"), width: 1, dash: "dot" },
    })),
    annotations: data.gaps.slice(0, 20).map(([since, until]) => ({
      x: (since + until) / 2, y: 1, xref: "x", yref: "paper", text: "! gap", showarrow: false, font: { color: colour("--warn") },
    })),
  }, { responsive: true, displayModeBar: false, scrollZoom: true });
}

/** The colour of a property as it is in the present theme. */
function resolved(which) {
  const probe = h("span", {});
  probe.style.color = `var(${which})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
