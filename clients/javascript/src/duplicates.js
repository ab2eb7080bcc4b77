const MAX_KEYS = 50_000;
const MAX_NUMBERS = 65_536; // of a key, where they do not ascend

/** The sequence numbers that have arrived, by a key such as origin and identifier. */
export class Duplicates {
  #known = new Map(); // the latest number, or a set of numbers

  /** Notes a number; returns whether it came before. Those that ascend are compared with the highest alone. */
  check(key, sequence, ascends = false) {
    const known = this.#known.get(key) ?? (ascends ? 0 : new Set());
    if (ascends ? sequence <= known : known.has(sequence)) return true;
    this.#known.delete(key); // so that the latest key is the last
    this.#known.set(key, ascends ? sequence : known.add(sequence));
    if (this.#known.size > MAX_KEYS) this.#known.delete(this.#known.keys().next().value);
    if (known.size > MAX_NUMBERS) known.delete(known.values().next().value);
    return false;
  }
}
