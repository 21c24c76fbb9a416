// What a JavaScript consumer of tickwire needs besides a NATS client: names, and a trade feed without missing messages.

/** A symbol as it is written in subjects: `BTC/USDT:USDT` is `BTC-USDT=3AUSDT`. */
export function token(symbol) {
  const escaped = (character) =>
    [...new TextEncoder().encode(character)].map((byte) => "=" + byte.toString(16).toUpperCase().padStart(2, "0")).join("");
  return symbol.replace(/[^A-Za-z0-9/]/gu, escaped).replaceAll("/", "-");
}

/**
 * A message of the tape; `header(name)` returns a header. `before` is the sequence before it on the same subject, `stream`
 * and `subject` are where it is stored.
 */
export function taped(header, data) {
  return {
    sequence: Number(header("Nats-Sequence")),
    // The first header is set where the tape no longer has messages of the subject.
    before: Number(header("Tickwire-Last-Sequence") || header("Nats-Expected-Last-Subject-Sequence") || 0),
    written: Date.parse(header("Nats-Time-Stamp")),
    stream: header("Nats-Stream"),
    subject: header("Nats-Subject"),
    data,
  };
}

/**
 * Trades in order, each once. `readBack(after, last)` gets what the stream of message `last` has of its subject after a
 * sequence, and throws while the broker does not say; `take(trades, gap)` is called for each message, and for what is no
 * longer on the tape.
 */
export class Trades {
  constructor(readBack, take) {
    this.readBack = readBack;
    this.take = take;
    this.last = null;
    this.newest = null;
    this.written = 0;
    this.turn = Promise.resolve();
  }

  /** Take a message of the subscription; messages that arrive meanwhile are queued. */
  heard(message) {
    const turn = this.turn.then(() => this.follow(message));
    this.turn = turn.catch(() => {});
    return turn;
  }

  async follow(message) {
    // A feed that goes on in another stream, as after an upgrade: the former one is read to its end first.
    if (this.newest !== null && message.stream !== this.newest.stream) {
      for (let left = await this.missed(); left.length > 0; left = await this.missed()) left.forEach((each) => this.handOn(each));
      this.last = 0;
    }
    this.newest = message;
    // A lower sequence that was written later belongs to a recreated stream, which is read from its beginning.
    if (message.sequence <= this.last && message.written > this.written) this.last = 0;
    while (this.last !== null && message.before > this.last) {
      const missed = await this.missed();
      if (missed.length === 0) break;
      missed.forEach((each) => this.handOn(each));
    }
    this.handOn(message);
  }

  async missed() {
    for (;;) {
      try {
        return await this.readBack(this.last, this.newest);
      } catch (error) {
        console.error(`the tape cannot be read yet: ${error.message}`);
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  }

  handOn({ sequence, before, written, data }) {
    if (this.last !== null && sequence <= this.last) return;
    const lost = this.last !== null && before > this.last;
    this.last = sequence;
    this.written = Math.max(this.written, written);
    if (lost) this.take([], { since: null, until: null, reason: "no longer on the tape" });
    this.take(data.trades, data.gap);
  }
}

/** The request that reads messages back: each is one answer; the last answer has no data and status 204 or 404. */
export function readBackRequest({ stream, subject }, after) {
  return { subject: `$JS.API.DIRECT.GET.${stream}`, request: { next_by_subj: subject, seq: after + 1, batch: 256 } };
}
