// Colours that distinguish names: ten, given out in the order in which names appear, then the same ten with a dash.

/**
 * For a light and for a dark background. Chosen so that any two differ clearly, also for those who see no red or no
 * green, and that each stands out from the background; a test measures that.
 */
export const COLORS: readonly (readonly [light: string, dark: string])[] = [
  ["#1299fb", "#13a6ff"],
  ["#995600", "#f36f00"],
  ["#5ba31d", "#8fde90"],
  ["#ff29c0", "#da0145"],
  ["#1c877e", "#137896"],
  ["#7f16a9", "#5f50ff"],
  ["#514e5d", "#a19c9a"],
  ["#052962", "#bdceff"],
  ["#173709", "#f4ff13"],
  ["#0313fd", "#ffffe1"],
];

const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
/** What a border can do of these. */
const BORDERS = ["solid", "dashed", "dotted", "double"];

export interface Mark {
  /** As CSS has it. */
  color: string;
  /** Lengths of strokes and gaps of a line. */
  dash: readonly number[];
  /** The style of a border. */
  border: string;
}

/** The mark of the name that appeared as number `index`, from 0 on. */
export function markAt(index: number): Mark {
  const [light, dark] = COLORS[index % COLORS.length];
  const turn = Math.floor(index / COLORS.length) % DASHES.length;
  return { color: `light-dark(${light}, ${dark})`, dash: DASHES[turn], border: BORDERS[turn] };
}

/** Gives out marks to names. A name keeps its mark for as long as the palette is there. */
export function createPalette(): (name: string) => Mark {
  const marks = new Map<string, Mark>();
  return (name) => {
    const mark = marks.get(name) ?? markAt(marks.size);
    marks.set(name, mark);
    return mark;
  };
}

/** The declarations that give an element the mark of a name, for the style sheet to use. */
export function markStyle(mark: Mark): string {
  return `--bmq-mark:${mark.color};--bmq-mark-style:${mark.border}`;
}
