// The matched places of the local stage, drawn on the example and on the picture that was found.

import { svg } from "./dom.js";

const MOST_LINES = 40;

/** Returns where a homography takes a point. */
export function mapped([a, b, c], [x, y]) {
  const w = c[0] * x + c[1] * y + c[2];
  return [(a[0] * x + a[1] * y + a[2]) / w, (b[0] * x + b[1] * y + b[2]) / w];
}

/** Returns the corners of the smallest convex polygon round some points (Andrew's monotone chain). */
export function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const turn = (o, a, b) => (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0]);
  const half = (ordered) => {
    const chain = [];
    for (const point of ordered) {
      while (chain.length > 1 && turn(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  return sorted.length < 3 ? sorted : [...half(sorted), ...half(sorted.reverse())];
}

const corners = ([left, top, right, bottom]) => [
  [left, top],
  [right, top],
  [right, bottom],
  [left, bottom],
];
const text = (points) => points.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" ");

/**
 * Returns a drawing of both pictures with the places that agree.
 *
 * `example` and `found` have href, width and height in pixels of the upright originals; the example may have a box.
 */
export function drawMatches(example, found, local, isWide) {
  const [one, other] = placed(example, found, isWide);
  const inliers = local.inliers;
  const step = Math.max(1, inliers.length / MOST_LINES);
  const lines = Array.from(
    { length: Math.min(inliers.length, MOST_LINES) },
    (_, n) => inliers[Math.floor(n * step)],
  );
  const width = Math.max(one.x + one.width, other.x + other.width);
  const height = Math.max(one.y + one.height, other.y + other.height);
  const frame = example.box ?? [0, 0, example.width, example.height];
  const quad = local.homography && corners(frame).map((corner) => mapped(local.homography, corner));
  return svg(
    "svg",
    {
      class: "matches",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `${inliers.length} places of the example, on the left or above, are found in the picture beside it`,
    },
    side(
      one,
      inliers.map(([x, y]) => [x, y]),
      example.box && corners(frame),
    ),
    side(
      other,
      inliers.map(([, , x, y]) => [x, y]),
      local.is_verified && quad,
    ),
    ...lines.map((pair) => line(one, other, pair)),
  );
}

/** Returns both pictures with their place in the drawing: side by side at one height, or one above the other. */
function placed(example, found, isWide) {
  const gap = 16;
  if (isWide) {
    const sized = (picture, x) => ({
      ...picture,
      x,
      y: 0,
      zoom: 600 / picture.height,
      width: (picture.width * 600) / picture.height,
      height: 600,
    });
    const first = sized(example, 0);
    return [first, sized(found, first.width + gap)];
  }
  const sized = (picture, y) => ({
    ...picture,
    x: 0,
    y,
    zoom: 600 / picture.width,
    width: 600,
    height: (picture.height * 600) / picture.width,
  });
  const first = sized(example, 0);
  return [first, sized(found, first.height + gap)];
}

function side({ href, x, y, width, height, zoom }, points, outline) {
  const at = (all) => text(all.map(([px, py]) => [px * zoom, py * zoom]));
  return svg(
    "svg",
    { x, y, width, height, viewBox: `0 0 ${width} ${height}` },
    svg("image", { href, width, height, preserveAspectRatio: "none" }),
    svg("polygon", { class: "region", points: at(hull(points)) }),
    outline && svg("polygon", { class: "outline", points: at(outline) }),
    ...points.map(([px, py]) =>
      svg("circle", { class: "place", cx: px * zoom, cy: py * zoom, r: points.length > 150 ? 2 : 3.5 }),
    ),
  );
}

function line(one, other, [x1, y1, x2, y2]) {
  return svg("line", {
    class: "match",
    x1: one.x + x1 * one.zoom,
    y1: one.y + y1 * one.zoom,
    x2: other.x + x2 * other.zoom,
    y2: other.y + y2 * other.zoom,
  });
}
