/**
 * berryMQ for browsers and Node: join the message bus of a Python session. See README.md; types in berrymq.d.ts.
 *
 * No dependencies. Times are in milliseconds. Errors are `BerryMQError`s with a `code`.
 * @module
 */
export { NDArray, Table } from "./src/arrays.js";
export { BerryMQError } from "./src/errors.js";
export { link } from "./src/link.js";
export { parse, stringify, Tagged } from "./src/values.js";
