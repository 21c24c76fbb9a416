// What runs, and what is wrong with it.
import { age, bytes, count, does, h, table, time } from "/static/dom.js";

export const title = "Overview";
export const names = () => ["overview"];

const STATES = {
  live: ["● live", "good"], starting: ["○ starting", "dim"], waiting: ["○ waiting", "warn"], stopped: ["■ stopped", "dim"],
  unknown: ["? not known", "warn"],
  repairing: ["◐ repairing", "warn"], resyncing: ["◐ resyncing", "warn"], disconnected: ["✖ disconnected", "bad"], failed: ["✖ failed", "bad"],
};

export function state(name) {
  const [text, kind] = STATES[name] ?? [name, ""];
  return [h("span", { class: kind }, text), ""];
}

/** The link to a market. */
export function marketOf(each) {
  return `/market?${new URLSearchParams({ m: `${each.exchange} ${each.symbol} ${each.timeframe ?? "1m"}` })}`;
}

function troubles(found) {
  if (!found.length) return h("p", { id: "troubles", class: "good" }, "✓ nothing is wrong");
  return h("ul", { id: "troubles", class: "troubles", "aria-label": "What is wrong now" }, found.map((each) =>
    h("li", { class: each.level === "error" ? "bad" : "warn" },
      `${each.level === "error" ? "✖" : "▲"} ${each.text}`, each.remedy ? h("span", { class: "dim" }, ` — ${each.remedy}`) : null)));
}

/** Where nothing is heard any more, no feed counts as live, and no job can be cancelled. */
function shown(data, old) {
  if (!data || !old) return data;
  return { ...data, feeds: data.feeds.map((each) => ({ ...each, state: "unknown", lag_ms: null })), jobs: data.jobs.map((each) => ({ ...each, cancellable: false })) };
}

function feeds(data) {
  if (!data.feeds.length) return h("p", { class: "dim" }, "no feed runs");
  // What matters most is first: a phone shows the beginnings of rows.
  const columns = [["state"], ["kind"], ["exchange"], ["symbol"], ["timeframe"], ["lag", "number"], ["last message", "number"],
    ["messages", "number"], ["gaps", "number"], ["owner"], ["subscribers", "number"]];
  const rows = data.feeds.map((each) => [
    state(each.state), each.kind, each.exchange, h("a", { href: marketOf(each) }, each.symbol), each.timeframe ?? "",
    each.lag_ms === null ? "–" : each.lag_ms < 0 ? `${each.lag_ms} ms` : age(each.lag_ms),
    each.last_message === null ? "never" : `${age(data.at - each.last_message)} ago`,
    count(each.messages), each.gaps ? [`▲ ${count(each.gaps)}`, "number warn"] : "0", each.owner ?? "–", count(each.subscribers),
  ]);
  const keys = data.feeds.map((each) => `${each.kind} ${each.exchange} ${each.symbol} ${each.timeframe ?? ""}`);
  return [table("Feeds", columns, rows, keys), data.feeds_more ? h("p", { class: "dim" }, `and ${count(data.feeds_more)} more`) : null];
}

export function jobs(data) {
  if (!data.jobs.length) return h("p", { class: "dim" }, "no job is queued or running");
  const rows = data.jobs.map((each) => [
    each.state, each.what,
    h("span", {}, h("progress", { max: 1, value: each.progress, "aria-label": `${each.what}: ${Math.floor(each.progress * 100)} %` }),
      ` ${Math.floor(each.progress * 100)} %`),
    `${count(each.rows)} of ${count(each.expected)}`, each.error,
    each.cancellable ? does("cancel", { id: each.id }, "cancel", `cancel job ${each.id}, ${each.what}`) : "", each.id,
  ]);
  return table("Jobs", [["state"], ["what"], ["progress"], ["rows", "number"], ["error", "wide"], [""], ["job"]], rows, data.jobs.map((each) => each.id));
}

export function draw(values, query, errors) {
  const old = Boolean(errors.overview);
  const data = shown(values.overview, old);
  if (!data) return h("p", { class: "dim" }, old ? "nothing was read yet" : "reading …");
  const part = (name, ...content) => h("section", { "aria-label": name, class: old ? "stale" : null }, h("h2", {}, name), content);
  return [
    part("What is wrong now", old ? h("p", { id: "troubles", class: "warn" }, `? not known; what is shown below is as of ${time(data.at)}`) : troubles(data.troubles)),
    part("Feeds", feeds(data)),
    part("Jobs", jobs(data)),
    part("Services", table("Services", [["service"], ["instance"], ["version"], ["since"], ["requests", "number"], ["errors", "number"], ["room", "number"]],
      data.services.map((each) => [each.service, each.instance, each.version, time(Date.parse(each.started)), count(each.requests), count(each.errors),
        each.space ? h("span", { title: each.space.folder }, `${bytes(each.space.free)} of ${bytes(each.space.size)} free`) : "–"]))),
    part("Backlogs and disk", table("Streams", [["stream"], ["messages", "number"], ["bytes", "number"], ["of"], ["full", "number"]],
      data.streams.map((each) => [each.stream, count(each.messages), bytes(each.bytes), each.limit ? bytes(each.limit) : "–",
        each.limit ? `${Math.floor(100 * each.bytes / each.limit)} %` : "–"]))),
    part("Leases", table("Leases", [["service"], ["lease"], ["holder"], ["since"]],
      data.leases.map((each) => [each.service, each.lease, each.holder, time(each.since)]))),
    h("p", { class: "dim", id: "at" }, `as of ${time(data.at)}`),
  ];
}
