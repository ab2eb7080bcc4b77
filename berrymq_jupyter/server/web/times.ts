// Points in time as short texts.

import { fullTime } from "../../widgets/format.ts";

/** `seconds` since 1970: the time of day, and the date before it when that is not today's. */
export function moment(seconds: number) {
  const text = fullTime(seconds * 1000).slice(0, 19);
  const today = fullTime(Date.now()).slice(0, 10);
  return text.startsWith(today) ? text.slice(11) : text.slice(0, 16);
}
