/** What Node alone has: the connection file of the hub on this machine, and a WebSocket of this module's own. */
import { BerryMQError } from "./errors.js";

const MAX_MESSAGE = 25 << 20; // of what a node sends
const MAX_FILE = 1 << 16;
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];

/** Returns a module of Node, or undefined elsewhere; so bundlers for browsers see no import of it. */
export const builtin = (name) => globalThis.process?.getBuiltinModule?.(name);
export const isNode = Boolean(builtin("node:http")) && !globalThis.Deno && !globalThis.Bun;

// -- the connection file

function runtimeDirectory() {
  const [fs, os, path] = ["node:fs", "node:os", "node:path"].map(builtin);
  const { env, platform } = process;
  if (env.BERRYMQ_RUNTIME_DIR) return env.BERRYMQ_RUNTIME_DIR;
  if (platform === "win32") return path.join(env.LOCALAPPDATA ?? os.homedir(), "Temp", "berrymq");
  if (platform === "darwin") return path.join(os.homedir(), "Library/Caches/TemporaryItems/berrymq");
  if (env.XDG_RUNTIME_DIR) return path.join(env.XDG_RUNTIME_DIR, "berrymq");
  const uid = process.getuid();
  return path.join(fs.existsSync(`/run/user/${uid}`) ? `/run/user/${uid}` : path.join(os.tmpdir(), `runtime-${uid}`), "berrymq");
}

/** Reads a file that has to be this user's alone. */
function readOwn(file, directory) {
  const fs = builtin("node:fs");
  const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = fs.constants;
  const handle = fs.openSync(file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  try {
    const [own, parent] = [fs.fstatSync(handle), fs.lstatSync(directory)];
    if (parent.isSymbolicLink()) throw new BerryMQError("PERMISSIONS", `${directory} is a symbolic link`);
    const uid = process.getuid?.();
    if (!own.isFile() || own.size > MAX_FILE) throw new BerryMQError("PERMISSIONS", `${file} is no connection file`);
    if (uid !== undefined && [own, parent].some((one) => one.uid !== uid || one.mode & 0o077))
      throw new BerryMQError("PERMISSIONS", `other users can read or replace ${file}: make it, and its directory, yours alone (chmod 600, 700)`);
    return fs.readFileSync(handle, "utf8");
  } finally {
    fs.closeSync(handle);
  }
}

/** Finds the hub: by the environment, else by its connection file. Returns its `url` and `token`. */
export function findHub() {
  const path = builtin("node:path");
  if (!path) throw new BerryMQError("NO_HUB", "pass the hub's url and token to link(): only Node 20.16 or newer can look for a hub");
  const { BERRYMQ_HUB_URL: url, BERRYMQ_HUB_TOKEN: token } = process.env;
  if (url) return { url, token };
  const directory = runtimeDirectory();
  const file = path.join(directory, "hub.json");
  try {
    const { url, access_token: token } = JSON.parse(readOwn(file, directory));
    if (typeof url !== "string" || typeof token !== "string") throw new SyntaxError("it lacks url or access_token");
    return { url, token };
  } catch (cause) {
    if (cause instanceof BerryMQError) throw cause;
    if (cause.code === "ELOOP") throw new BerryMQError("PERMISSIONS", `${file} is a symbolic link`, { cause });
    const advice = "start one by `berrymq hub --detached`, or by link() in Python";
    throw new BerryMQError("NO_HUB", `no hub runs here: ${advice} (${cause.message})`, { cause });
  }
}

// -- the WebSocket

/**
 * As much of the standard WebSocket as is used here. Node 20 has none, and that of Node 22 neither closes with the
 * codes of the protocol, nor reports why it was refused, nor bounds what it receives.
 */
export class NodeSocket {
  #socket;
  #request;
  #chunks = [];
  #size = 0; // of #chunks
  #needed = 2;
  #parts = []; // of a message
  #length = 0; // of #parts
  #isText = true;
  #ended = false;

  constructor(address, protocol) {
    const url = new URL(address.replace(/^ws/, "http"));
    const { createHash, randomBytes } = builtin("node:crypto");
    const key = randomBytes(16).toString("base64");
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13" };
    Object.assign(headers, { "Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": protocol });
    this.#request = builtin(url.protocol === "https:" ? "node:https" : "node:http").request(url, { headers, agent: false });
    this.#request.on("error", (error) => this.#end(1006, error.message));
    this.#request.on("response", ({ statusCode }) => this.#end([401, 403].includes(statusCode) ? 1008 : 1006, `HTTP ${statusCode}`));
    this.#request.on("upgrade", (response, socket, head) => {
      this.#socket = socket.setNoDelay(true);
      socket.on("error", () => this.#end(1006));
      socket.on("close", () => this.#end(1006));
      if (response.headers["sec-websocket-accept"] !== accept) return this.#end(1006, "the answer is not one of a WebSocket");
      this.onopen?.();
      socket.on("data", (chunk) => this.#receive(chunk));
      if (head.length) this.#receive(head);
    });
    this.#request.end();
  }

  send(data) {
    this.#write(typeof data === "string" ? TEXT : BINARY, Buffer.from(data));
  }

  /** Closes it, with any code. */
  close(code) {
    if (!this.#socket) return this.#end(1006);
    this.#write(CLOSE, Buffer.from([code >> 8, code & 255]));
    if (code === 1000) setTimeout(() => this.#end(1006), 1_000).unref();
    else this.#end(code);
  }

  #write(opcode, payload) {
    if (this.#ended) return;
    const { length } = payload;
    const header = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
    header[0] = 0x80 | opcode;
    header[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
    if (length >= 65_536) header.writeBigUInt64BE(BigInt(length), 2);
    else if (length >= 126) header.writeUInt16BE(length, 2);
    const mask = builtin("node:crypto").randomFillSync(header.subarray(-4));
    for (let at = 0; at < length; at++) payload[at] ^= mask[at & 3];
    this.#socket.cork();
    this.#socket.write(header);
    this.#socket.write(payload);
    this.#socket.uncork();
  }

  #receive(chunk) {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    while (this.#size >= this.#needed && !this.#ended) {
      const data = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
      this.#chunks = [data];
      let [start, length] = [2, data[1] & 127];
      if (length >= 126) {
        start = length === 126 ? 4 : 10;
        if (data.length >= start) length = length === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2));
      }
      this.#needed = data.length < start ? start : start + length;
      if (this.#needed > MAX_MESSAGE) return this.close(1009);
      if (data[0] & 0x70 || data[1] & 128 || (data[0] & 8 && (length > 125 || !(data[0] & 128)))) return this.close(1002);
      if (data.length < this.#needed) continue;
      const rest = data.subarray(this.#needed);
      this.#chunks = [rest];
      this.#size = rest.length;
      this.#needed = 2;
      this.#frame(data[0] & 15, Boolean(data[0] & 128), data.subarray(start, start + length));
    }
  }

  #frame(opcode, isLast, payload) {
    if (opcode === PING) return this.#write(PONG, Buffer.from(payload));
    if (opcode === PONG) return;
    if (opcode === CLOSE) {
      this.#write(CLOSE, Buffer.from(payload.subarray(0, 2)));
      return this.#end(payload.length < 2 ? 1005 : payload.readUInt16BE(0), payload.subarray(2).toString());
    }
    const isFirst = opcode !== CONTINUATION;
    if (opcode > BINARY || isFirst === this.#parts.length > 0) return this.close(1002);
    if (isFirst) this.#isText = opcode === TEXT;
    this.#parts.push(payload);
    this.#length += payload.length;
    if (this.#length > MAX_MESSAGE) return this.close(1009);
    if (!isLast) return;
    const all = Buffer.concat(this.#parts);
    [this.#parts, this.#length] = [[], 0];
    try {
      this.onmessage?.({ data: this.#isText ? new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(all) : all });
    } catch {
      this.close(1007);
    }
  }

  #end(code, reason = "") {
    if (this.#ended) return;
    this.#ended = true;
    this.#request.destroy();
    this.#socket?.end();
    this.#socket?.destroySoon?.();
    this.onclose?.({ code, reason });
  }
}
