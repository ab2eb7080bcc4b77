/** An error of the bus. For its `code` see `ErrorCode` in berrymq.d.ts. */
export class BerryMQError extends Error {
  constructor(code, message, options) {
    super(message, options);
    this.name = "BerryMQError";
    this.code = code;
  }
}
