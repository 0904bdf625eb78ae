// What stays at the top of the window while one scrolls: what is wrong, and the bar to search by.

import { byId } from "./dom.js";

const MOST = { usual: 160, small: 64 }; // pixels of the bar that stay: of one with many parts the last rows, or the box alone
const SMALL = window.matchMedia("(max-width: 560px), (max-height: 500px)");
let height = 0;

/** Returns how many pixels of the window are covered while one scrolls. */
export const covered = () => height;

/** Has both stay in view, whatever height they take. */
export function stick() {
  const [banner, bar] = [byId("banner"), byId("bar")];
  const { style } = document.documentElement;
  const measure = () => {
    const above = banner.offsetHeight;
    height = above + Math.min(bar.offsetHeight, SMALL.matches ? MOST.small : MOST.usual);
    style.setProperty("--banner", `${above}px`);
    style.setProperty("--covered", `${height}px`);
    style.setProperty("--bar-top", `${height - bar.offsetHeight}px`);
  };
  const watch = new ResizeObserver(measure);
  watch.observe(banner);
  watch.observe(bar);
}
