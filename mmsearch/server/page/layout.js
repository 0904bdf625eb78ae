// Where the pictures of the grid stand: blocks of rows that fill the width. What is not loaded yet is estimated.

const GAP = 6;
const USUAL_RATIO = 1.4;
const HEAD = { title: 52, divider: 46 }; // pixels above the first row

const usualHeight = (width) => (width < 520 ? 130 : 210);
const ratioOf = (picture) => Math.min(3, Math.max(0.45, picture.width / picture.height || 1));
const fitting = (sum, n, width, gap) => (width - gap * (n - 1)) / sum;
const floored = (pixels) => Math.floor(pixels * 100) / 100;

/** Returns rows of widths and a height: every full row is as wide as the grid, the last one keeps the usual height. */
export function justified(ratios, width, height, gap = GAP) {
  const rows = [];
  let row = [];
  let sum = 0;
  const close = (rowHeight) => {
    rows.push({ height: rowHeight, widths: row.map((ratio) => floored(ratio * rowHeight)) });
    [row, sum] = [[], 0];
  };
  for (const ratio of ratios) {
    row.push(ratio);
    sum += ratio;
    const rowHeight = fitting(sum, row.length, width, gap);
    if (rowHeight <= height) close(rowHeight);
  }
  if (row.length) close(Math.min(height, fitting(sum, row.length, width, gap)));
  return rows;
}

/** Returns rows that are all as wide as the grid, and about as high as usual: others follow without a seam. */
export function filling(ratios, width, height, gap = GAP) {
  const total = ratios.reduce((sum, ratio) => sum + ratio, 0);
  const n = Math.max(1, Math.round((total * height + ratios.length * gap) / (width + gap)));
  const rows = Array.from({ length: n }, () => []);
  let sum = 0;
  for (const ratio of ratios) {
    rows[Math.min(n - 1, Math.floor(((sum + ratio / 2) / total) * n))].push(ratio);
    sum += ratio;
  }
  return rows
    .filter((row) => row.length)
    .map((row) => {
      const inRow = row.reduce((one, ratio) => one + ratio, 0);
      const rowHeight = fitting(inRow, row.length, width, gap);
      return { height: rowHeight, widths: row.map((ratio) => floored(ratio * rowHeight)) };
    });
}

/** Returns how many rows the pictures of a block that is not loaded will most likely take, and how many each has. */
function estimated(block, width) {
  const perRow = Math.max(1, (width + GAP) / (USUAL_RATIO * usualHeight(width) + GAP));
  const nRows = block.isLast ? Math.ceil(block.n / perRow) : Math.max(1, Math.round(block.n / perRow));
  return { nRows, perRow: block.n / nRows };
}

/** Gives a block its height at a width and, if it has pictures, its rows: `top`, `height`, `first` and `widths`. */
export function lay(block, width) {
  const isFirst = block.offset === 0;
  const head = isFirst && block.title ? HEAD.title : isFirst && block.isWeak ? HEAD.divider : 0;
  block.head = head;
  if (!block.pictures) {
    block.rows = null;
    if (block.laidAt !== width) {
      block.height = head + estimated(block, width).nRows * (usualHeight(width) + GAP);
      block.laidAt = width;
    }
    return;
  }
  const rowsOf = block.isLast ? justified : filling;
  let [top, first] = [head, 0];
  block.rows = rowsOf(block.pictures.map(ratioOf), width, usualHeight(width)).map((row) => {
    const laid = { ...row, top, first };
    top += row.height + GAP;
    first += row.widths.length;
    return laid;
  });
  [block.height, block.laidAt] = [top, width];
}

/** Returns the place, from the left, of each picture of a row. */
export function lefts(row) {
  let left = 0;
  return row.widths.map((width) => {
    const at = left;
    left += width + GAP;
    return at;
  });
}

/** Returns left, top, width and height of each picture of a block; of one that is not loaded, about. */
export function cellsOf(block) {
  if (block.rows)
    return block.rows.flatMap((row) =>
      lefts(row).map((left, nth) => [left, row.top, row.widths[nth], row.height]),
    );
  const { nRows, perRow } = estimated(block, block.laidAt);
  const n = Math.ceil(perRow);
  const width = fitting(1, n, block.laidAt, GAP) / n;
  const height = (block.height - block.head) / nRows;
  return Array.from({ length: nRows * n }, (_, nth) => [
    (nth % n) * (width + GAP),
    block.head + Math.floor(nth / n) * height,
    width,
    height - GAP,
  ]);
}

/** Returns where, in a block, the row of one of its pictures begins and ends. */
export function rowOf(block, place) {
  if (block.rows) {
    const row = block.rows.findLast((one) => one.first <= place) ?? { top: block.head, height: 0 };
    return { top: row.top, bottom: row.top + row.height };
  }
  const { nRows, perRow } = estimated(block, block.laidAt);
  const height = (block.height - block.head) / nRows;
  const top = block.head + Math.floor(place / perRow) * height;
  return { top, bottom: top + height - GAP };
}

/** Returns the picture of a block that stands first in the row at some height. */
export function placeAt(block, y) {
  if (block.rows) return block.rows.find((row) => row.top + row.height > y)?.first ?? block.n - 1;
  const { nRows, perRow } = estimated(block, block.laidAt);
  const row = Math.floor(((y - block.head) / (block.height - block.head)) * nRows);
  return Math.min(block.n - 1, Math.ceil(Math.max(0, row) * perRow));
}
