/** SHA-256 and HMAC by Web Crypto, in hexadecimal. */
import { BerryMQError } from "./errors.js";

const bytesOf = (text) => new TextEncoder().encode(text);
const toHex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

function subtle() {
  if (globalThis.crypto?.subtle) return crypto.subtle;
  throw new BerryMQError("UNSUPPORTED", "pages need a secure context, such as https:// or http://localhost");
}

export const nonce = () => toHex(crypto.getRandomValues(new Uint8Array(24)));

export const sha256 = async (text) => toHex(await subtle().digest("SHA-256", bytesOf(text)));

export async function hmac(secret, text) {
  const key = await subtle().importKey("raw", bytesOf(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return toHex(await subtle().sign("HMAC", key, bytesOf(text)));
}
