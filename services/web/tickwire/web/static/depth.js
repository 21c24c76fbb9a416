// The depth of a book as steps: what could be traded up to each price, bids on the left, asks on the right.
import { h, s } from "/static/dom.js";

const WIDTH = 320;
const HEIGHT = 150;

const digits = (value) => String(Number(value.toPrecision(6)));

/** The points of one side, from the best price outwards, as steps. */
function steps(side, x, y) {
  let before = 0;
  const points = [];
  for (const [price, total] of side) {
    points.push(`${x(price)},${y(before)}`, `${x(price)},${y(total)}`);
    before = total;
  }
  return points;
}

/** In words: how far each side goes, and how much it has. */
function words(bids, asks) {
  const side = (name, levels) => levels.length
    ? `${name}: ${digits(levels.at(-1)[1])} from ${digits(levels[0][0])} to ${digits(levels.at(-1)[0])}` : `no ${name}`;
  return `${side("bids", bids)}; ${side("asks", asks)}`;
}

export function depth(name, data, live) {
  if (!data || (!data.bids.length && !data.asks.length)) return null;
  const { bids, asks } = data;
  const prices = [...bids, ...asks].map(([price]) => price);
  const low = Math.min(...prices);
  const high = Math.max(...prices);
  const most = Math.max(...[bids, asks].filter((side) => side.length).map((side) => side.at(-1)[1])) || 1;
  const x = (price) => (high > low ? ((price - low) / (high - low)) * WIDTH : WIDTH / 2).toFixed(1);
  const y = (total) => (HEIGHT - (total / most) * (HEIGHT - 4)).toFixed(1);
  const area = (kind, side, edge) => side.length
    ? s("polygon", { class: kind, points: [...steps(side, x, y), `${edge},${y(side.at(-1)[1])}`, `${edge},${HEIGHT}`, `${x(side[0][0])},${HEIGHT}`].join(" ") }) : null;
  const text = words(bids, asks);
  return h("figure", { class: `depth ${live ? "" : "stale"}` },
    s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", preserveAspectRatio: "none", "aria-label": `depth of ${name}: ${text}${live ? "" : "; not live"}` },
      area("bids", bids, 0), area("asks", asks, WIDTH)),
    h("figcaption", { class: "dim" }, h("span", {}, `◀ bids ${digits(low)}`), h("span", {}, live ? "depth" : "depth, not live"), h("span", {}, `${digits(high)} asks ▶`)),
    h("p", { class: "dim" }, text));
}
