// Prints live trades from Node, each as a line of JSON: `node node.mjs EXCHANGE SYMBOL [COUNT]`.
// The broker is that of $NATS_URL: `export NATS_URL=$(tickwire url)`.
import { randomUUID } from "node:crypto";
import { connect } from "@nats-io/transport-node";
import { readBackRequest, taped, token, Trades } from "./tickwire.mjs";

const [exchange, symbol, count = Infinity] = process.argv.slice(2);
// This client ignores the token in a URL.
const { host, username } = new URL(process.env.NATS_URL);
const nc = await connect({ servers: host, token: username, maxReconnectAttempts: -1 });
const ask = async (subject, request) => {
  const reply = await nc.request(subject, JSON.stringify(request), { timeout: 30_000 });
  if (reply.headers?.get("Nats-Service-Error-Code")) throw new Error(reply.json().message);
  return reply.json();
};

// Candles of the last hour: fetch missing ones, wait until they are cached, and read them.
const key = { exchange, symbol, timeframe: "1m" };
const job = { ...key, id: randomUUID(), since: Date.now() - 3_600_000 };
const progress = nc.subscribe(`md.job.${job.id}`);
await ask("fetcher.fetch", job);
for await (const message of progress) {
  const { state, error } = message.json();
  if (state === "failed") throw new Error(error.message);
  if (state === "done") break;
}
const candles = await ask("cache.get", { ...key, limit: 3, last: true });
console.error("candles:", JSON.stringify(candles.rows));

// Live trades, and those that were missed.
const subject = `md.trade.${exchange}.${token(symbol)}`;
const of = (message) => taped((name) => message.headers.get(name), message.json());
const readBack = async (after, last) => {
  const { subject: api, request } = readBackRequest(last, after);
  const found = [];
  for await (const answer of await nc.requestMany(api, JSON.stringify(request), { strategy: "sentinel", maxWait: 5_000 })) {
    if (answer.data.length > 0) found.push(of(answer));
    else if ([204, 404].includes(answer.headers.code)) return found;
    else throw new Error(answer.headers.description);
  }
  throw new Error("no answer");
};
let printed = 0;
const trades = new Trades(readBack, (some, gap) => {
  if (gap) console.error("gap:", JSON.stringify(gap));
  for (const trade of some) if (printed++ < count) console.log(JSON.stringify(trade));
  if (printed >= count) stop();
});
nc.subscribe(subject, {
  callback: (error, message) => {
    if (error) throw error;
    trades.heard(of(message));
  },
});
await nc.flush();

// The feed runs while it has subscribers: the interest is renewed before it expires, and withdrawn at the end.
const feed = { kind: "trade", exchange, symbol, subscriber: `node-${process.pid}` };
await ask("streamer.start", { ...feed, ttl_s: 15 });
// A restart of the broker or a streamer is outlived: the next renewal starts the feed again.
const renew = () => ask("streamer.start", { ...feed, ttl_s: 15 }).catch((error) => console.error(`not renewed: ${error.message}`));
const renewing = setInterval(renew, 5_000);

let stopping = false;
async function stop() {
  if (stopping) return;
  stopping = true;
  clearInterval(renewing);
  await ask("streamer.stop", feed);
  await nc.drain();
}
process.on("SIGINT", stop);
process.on("SIGTERM", stop);
