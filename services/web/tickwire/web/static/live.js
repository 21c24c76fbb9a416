// The WebSocket: says what is watched, and connects again for as long as the page is open.

const FIRST_MS = 300;
const LONGEST_MS = 5000;
const NEVER = "no live values: the page's WebSocket is refused; a proxy has to pass the headers Upgrade and Connection on";

export class Live {
  /** `take(name, data, error)` is called with each value, `told(connected)` when the connection comes or goes. */
  constructor(take, told) {
    this.take = take;
    this.told = told;
    this.names = [];
    this.wait = FIRST_MS;
    this.opened = false;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}/live`);
    this.socket.onopen = () => { this.opened = true; this.wait = FIRST_MS; this.told(true); this.say(); };
    this.socket.onmessage = ({ data }) => {
      const { name, data: value, error } = JSON.parse(data);
      if (this.names.includes(name)) this.take(name, value, error);
    };
    this.socket.onclose = ({ code, reason }) => {
      this.told(false, code === 1008 ? reason : this.opened ? "" : NEVER);
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(LONGEST_MS, this.wait * 2);
    };
  }

  /** From now on, watch these. */
  watch(names) {
    this.names = names;
    this.say();
  }

  say() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ watch: this.names }));
  }
}
