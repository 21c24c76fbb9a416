// What every JavaScript consumer of tickwire needs besides a NATS client: names, and a trade feed without holes.

/** A symbol as it stands in a subject: `BTC/USDT:USDT` is `BTC-USDT=3AUSDT`. */
export function token(symbol) {
  const escaped = (character) =>
    [...new TextEncoder().encode(character)].map((byte) => "=" + byte.toString(16).toUpperCase().padStart(2, "0")).join("");
  return symbol.replace(/[^A-Za-z0-9/]/gu, escaped).replaceAll("/", "-");
}

/**
 * Trades in order, each once. `readBack(after)` gets what stream TRADES has of the subject after a sequence, as
 * `[{sequence, data}]`; `take(trades)` is called with the trades of each message.
 */
export class Trades {
  constructor(readBack, take) {
    this.readBack = readBack;
    this.take = take;
    this.last = 0;
    this.turn = Promise.resolve();
  }

  /** A message of the subscription: its headers say which one came before it on the subject. */
  heard(sequence, before, data) {
    this.turn = this.turn.then(async () => {
      while (this.last && before > this.last) {
        const missed = await this.readBack(this.last);
        if (missed.length === 0) break; // The tape does not keep it any more.
        for (const each of missed) this.handOn(each.sequence, each.data);
      }
      this.handOn(sequence, data);
    });
    return this.turn;
  }

  handOn(sequence, data) {
    if (sequence <= this.last) return;
    this.last = sequence;
    this.take(data.trades, data.gap);
  }
}

/** The request that reads back: answered by one message each, and a last one without data. */
export function readBackRequest(subject, after) {
  const tape = subject.replace(/^md\./, "tape.");
  return { subject: "$JS.API.DIRECT.GET.TRADES", request: { next_by_subj: tape, seq: after + 1, batch: 256 } };
}
