// Colours tell apart what they stand for, for everybody.

import assert from "node:assert/strict";
import { test } from "node:test";
import { COLORS, createPalette } from "../../berrymq_jupyter/widgets/palette.ts";

type Vector = [number, number, number];

/** What those without red or green receptors see of linear red, green and blue (Machado, Oliveira, Fernandes 2009). */
const SEEN: Record<string, Vector[]> = {
  all: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
};
/** About five times what is just noticeable. */
const CLEAR = 0.1;

const times = (matrix: Vector[], vector: Vector) => matrix.map((row) => row.reduce((sum, value, index) => sum + value * vector[index], 0)) as Vector;

function linear(color: string): Vector {
  return [1, 3, 5].map((at) => {
    const value = Number.parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as Vector;
}

function oklab(rgb: Vector): Vector {
  const lms = times([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]], rgb);
  const roots = lms.map((value) => Math.cbrt(Math.max(0, value))) as Vector;
  return times([[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]], roots);
}

const luminance = (color: string) => times([[0.2126, 0.7152, 0.0722]], linear(color))[0];
const contrast = (one: string, other: string) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

for (const [index, background] of ["#ffffff", "#111111"].entries()) {
  const colors = COLORS.map((pair) => pair[index]);

  for (const [who, matrix] of Object.entries(SEEN)) {
    test(`ten colours on ${background} differ clearly when ${who} is seen`, () => {
      assert.equal(new Set(colors).size, 10);
      const seen = colors.map((color) => oklab(times(matrix, linear(color)).map((value) => Math.min(1, Math.max(0, value))) as Vector));
      for (const [at, one] of seen.entries()) {
        for (const other of seen.slice(0, at)) assert.ok(Math.hypot(...one.map((value, part) => value - other[part])) > CLEAR);
      }
    });
  }

  test(`each stands out from ${background}`, () => {
    for (const color of colors) assert.ok(contrast(color, background) >= 3, color);
  });
}

test("names get marks by order of appearance, and the colours come again with dashes", () => {
  const of = createPalette();
  const marks = Array.from({ length: 25 }, (_, index) => of(`name ${index}`));
  assert.equal(new Set(marks.map((mark) => `${mark.color} ${mark.border}`)).size, 25);
  assert.equal(marks[10].color, marks[0].color);
  assert.notDeepEqual(marks[10].dash, marks[0].dash);
  assert.deepEqual(of("name 0"), marks[0]);
});
