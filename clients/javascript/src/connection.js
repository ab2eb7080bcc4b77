/** One WebSocket to a node: the handshake, calls with their results, and the frames of the other side. */
import { BerryMQError } from "./errors.js";
import { isNode, NodeSocket } from "./node.js";
import { hmac, nonce } from "./secrets.js";
import { parseJSON } from "./values.js";
import { deferred, within } from "./waiting.js";

const HANDSHAKE = 5_000; // ms
const CODES = { "-32001": "REFUSED", "-32004": "OVERFLOW", "-32005": "PAYLOAD", "-32006": "IDENTIFIER" };

export class Connection {
  #socket;
  #calls = new Map();
  #last = 0; // call
  #opened = deferred();
  onframe = () => {};
  onbinary = () => {};
  onclose = () => {};
  receivedAt = Date.now();
  isPinged = false;

  /** Connects, proves the token both ways, calls `begin` with the connection, and resolves to what that does. */
  static async open({ url, token }, WebSocket, begin) {
    let address;
    try {
      address = new URL("ws", url.replace(/\/*$/, "/").replace(/^http/, "ws"));
      if (!/^wss?:$/.test(address.protocol)) throw new TypeError(`${address.protocol} is not http: or https:`);
    } catch (cause) {
      throw new BerryMQError("NO_HUB", `${JSON.stringify(url)} is no address such as http://127.0.0.1:8137`, { cause });
    }
    const connection = new Connection();
    const opening = async () => {
      await connection.#connect(address.href, WebSocket);
      const isHub = await connection.#authenticate(address, token);
      return begin(connection, isHub, address.href.replace(/^ws/, "http").replace(/ws$/, ""));
    };
    try {
      return await within(opening(), { timeout: HANDSHAKE }, () => new BerryMQError("NO_HUB", `${address.host} does not answer`));
    } catch (error) {
      connection.close(1001);
      throw error;
    }
  }

  #connect(address, WebSocket = isNode ? NodeSocket : globalThis.WebSocket) {
    if (!WebSocket) throw new BerryMQError("UNSUPPORTED", "there is no WebSocket here: pass a class as `WebSocket`");
    this.#socket = new WebSocket(address, "berrymq.v1");
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = this.#opened.resolve;
    this.#socket.onerror = () => {}; // it is closed as well
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code, reason }) => {
      const isRefused = code === 1008;
      const question = globalThis.document ? "does a hub run there that allows this page (--allow-origin)?" : "does a hub run there?";
      const why = isRefused ? "refuses the access token, or this program" : `does not answer: ${question}`;
      const error = new BerryMQError(isRefused ? "REFUSED" : "NO_HUB", `${address} ${why} ${reason}`.trim());
      this.#opened.reject(error);
      for (const { reject } of this.#calls.values()) reject(error);
      this.#calls.clear();
      this.onclose(code);
    };
    return this.#opened.promise;
  }

  /** Proves the token in both directions, so that neither side learns it; resolves to whether a hub is there. */
  async #authenticate({ protocol, hostname, host, port }, token) {
    const mine = nonce();
    const hello = await this.call("hello", { nonce: mine });
    if (token === undefined) return hello.hub === true;
    const isElsewhere = /^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname) && hello.port !== Number(port || (protocol === "wss:" ? 443 : 80));
    const text = `${mine} ${hello.nonce} ${hello.port}`;
    if (isElsewhere || hello.proof !== (await hmac(token, `berrymq server ${text}`)))
      throw new BerryMQError("REFUSED", `${host} does not know this access token; nothing was sent to it`);
    await this.call("authenticate", { proof: await hmac(token, `berrymq client ${text}`) });
    return hello.hub === true;
  }

  /** Calls a method; `now` gets the result at once, before the next frame. */
  call(method, params, now = () => {}) {
    const id = ++this.#last;
    const { promise, resolve, reject } = deferred();
    this.#calls.set(id, { resolve, reject, now });
    this.send(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${JSON.stringify(params)}}`);
    return promise;
  }

  notify(method, params) {
    this.send(JSON.stringify({ jsonrpc: "2.0", method, params }));
  }

  send(data) {
    try {
      this.#socket.send(data);
    } catch {} // the close is reported
  }

  close(code) {
    if (!this.#socket) return;
    this.#socket.close(code === 1000 || this.#socket instanceof NodeSocket ? code : code + 3_000); // as browsers allow
    if (code !== 1000) this.#socket.onclose({ code: 1006, reason: "" }); // a dead one may take minutes
    this.#socket.onclose = this.#socket.onmessage = () => {};
  }

  #receive(data) {
    this.receivedAt = Date.now();
    try {
      if (typeof data !== "string") return this.onbinary(new Uint8Array(data));
      const { method, params = {}, id, result, error } = parseJSON(data);
      if (method) return this.onframe(method, params);
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) return call?.reject(new BerryMQError(CODES[error.code] ?? "PROTOCOL", String(error.message)));
      call?.now(result);
      call?.resolve(result);
    } catch (error) {
      console.error("berryMQ: the other side does not keep to the protocol:", error);
      this.close(1002);
    }
  }
}
