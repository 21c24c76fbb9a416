// Follow trades from Node: `node node.mjs URL EXCHANGE SYMBOL [COUNT]` prints each trade as a line of JSON.
import { connect, createInbox } from "@nats-io/transport-node";
import { readBackRequest, token, Trades } from "./tickwire.mjs";

const [url, exchange, symbol, count = Infinity] = process.argv.slice(2);
const nc = await connect({ servers: url, maxReconnectAttempts: -1 });
const ask = async (subject, request) => {
  const reply = await nc.request(subject, JSON.stringify(request), { timeout: 30_000 });
  if (reply.headers?.get("Nats-Service-Error-Code")) throw new Error(reply.json().message);
  return reply.json();
};

// What is cached, if anything is.
const candles = await ask("cache.get", { exchange, symbol, timeframe: "1m", limit: 3 });
console.error("candles:", JSON.stringify(candles.rows));

// The trades, and what was missed of them.
const subject = `md.trade.${exchange}.${token(symbol)}`;
const readBack = async (after) => {
  const { subject: api, request } = readBackRequest(subject, after);
  const found = [];
  const answers = nc.subscribe(createInbox(), { timeout: 5_000 });
  nc.publish(api, JSON.stringify(request), { reply: answers.getSubject() });
  for await (const answer of answers) {
    if (answer.data.length === 0) break;
    found.push({ sequence: Number(answer.headers.get("Nats-Sequence")), data: answer.json() });
  }
  return found;
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
    const [sequence, before] = ["Nats-Sequence", "Nats-Last-Sequence"].map((name) => Number(message.headers.get(name)));
    trades.heard(sequence, before, message.json());
  },
});
await nc.flush();

// The feed runs as long as somebody is interested: said again before the time to live is over, taken back at the end.
const feed = { kind: "trade", exchange, symbol, subscriber: `node-${process.pid}` };
await ask("streamer.start", { ...feed, ttl_s: 15 });
const renewing = setInterval(() => ask("streamer.start", { ...feed, ttl_s: 15 }).catch(console.error), 5_000);

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
