// NATS' text protocol over a WebSocket in a browser, as much of it as a feed needs.
// https://docs.nats.io/reference/reference-protocols/nats-protocol; for more, bundle @nats-io/nats-core.

const text = new TextDecoder("utf-8", { fatal: true });
const bytes = new TextEncoder();

const FAILED = { 400: "bad request", 408: "bad request", 500: "the broker failed", 503: "no service answers" };

export class Nats {
  /** Connect; resolves once the server has answered. */
  static open(url) {
    // The broker's token is the user of the URL, which a WebSocket URL must not have.
    const at = new URL(url);
    const token = at.username;
    at.username = "";
    return new Promise((resolve, reject) => {
      const nats = new Nats(new WebSocket(at), token);
      nats.opened = () => resolve(nats);
      nats.failed = reject;
    });
  }

  constructor(socket, token) {
    this.socket = socket;
    this.token = token;
    this.buffer = new Uint8Array();
    this.callbacks = new Map();
    this.inbox = `_INBOX.${crypto.randomUUID()}`;
    this.next = 1;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.received(new Uint8Array(data));
    socket.onclose = socket.onerror = () => this.failed(new Error(this.lost()));
  }

  /** Why there is no connection: a browser does not tell a page why a server refused it. */
  lost() {
    if (this.heard) return `the connection to ${this.socket.url} is lost`;
    return `no connection to ${this.socket.url}: does \`tickwire up\` run, with nats.websocket_port set, and is ` +
      `"${globalThis.location?.origin}" one of nats.websocket_origins?`;
  }

  /** Call back with `{data, headers}` for each message; returns the number for unsubscribing. */
  subscribe(subject, callback) {
    this.callbacks.set(String(this.next), callback);
    this.send(`SUB ${subject} ${this.next}\r\n`);
    return this.next++;
  }

  unsubscribe(number) {
    this.callbacks.delete(String(number));
    this.send(`UNSUB ${number}\r\n`);
  }

  publish(subject, message, reply = "") {
    const data = JSON.stringify(message);
    this.send(`PUB ${subject} ${reply} ${bytes.encode(data).length}\r\n${data}\r\n`);
  }

  /** Return the replies to a request, up to the one with `last(reply)`; throws an error of the service. */
  request(subject, message, last = () => true) {
    return new Promise((resolve, reject) => {
      const replies = [];
      const inbox = `${this.inbox}.${this.next}`;
      const number = this.subscribe(inbox, (reply) => {
        replies.push(reply);
        const failed = reply.headers["nats-service-error-code"] ?? FAILED[reply.headers.status];
        if (!failed && !last(reply)) return;
        this.unsubscribe(number);
        if (failed) reject(new Error(reply.data?.message ?? failed));
        else resolve(replies);
      });
      this.publish(subject, message, inbox);
    });
  }

  send(line) {
    this.socket.send(bytes.encode(line));
  }

  received(more) {
    const all = new Uint8Array(this.buffer.length + more.length);
    all.set(this.buffer);
    all.set(more, this.buffer.length);
    let at = 0;
    for (;;) {
      const end = all.indexOf(10, at);
      if (end < 0) break;
      const [verb, ...words] = text.decode(all.subarray(at, end)).trim().split(" ");
      const size = /^H?MSG$/.test(verb) ? Number(words.at(-1)) + 2 : 0;
      if (end + 1 + size > all.length) break;
      if (size) this.message(verb, words, all.subarray(end + 1, end + size - 1));
      else this.control(verb, words.join(" "));
      at = end + 1 + size;
    }
    this.buffer = all.slice(at);
  }

  control(verb, rest) {
    this.heard = true;
    if (verb === "INFO") this.login();
    else if (verb === "PING") this.send("PONG\r\n");
    else if (verb === "PONG") this.opened();
    else if (verb === "-ERR") this.failed(new Error(rest));
  }

  login() {
    const options = { verbose: false, headers: true, no_responders: true, lang: "js", auth_token: this.token };
    this.send(`CONNECT ${JSON.stringify(options)}\r\nPING\r\n`);
  }

  message(verb, words, payload) {
    const headers = {};
    if (verb === "HMSG") {
      const length = Number(words.at(-2));
      const [first, ...lines] = text.decode(payload.subarray(0, length)).trim().split("\r\n");
      headers.status = first.split(" ")[1];
      for (const line of lines) {
        const colon = line.indexOf(":");
        headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
      }
      payload = payload.subarray(length);
    }
    const data = payload.length ? JSON.parse(text.decode(payload)) : null;
    this.callbacks.get(words[1])?.({ data, headers });
  }
}
