// Pictures that the user brings: chosen, dropped or pasted. They live as long as the tab; an address holds only a key.

import { MOST_BYTES } from "./api.js";
import { el } from "./dom.js";
import { keepForTab, restored } from "./kept.js";

const SIDE = 2048;

/** Key -> {key, file, href, width, height}; width and height are 0 where the browser cannot show the format. */
export const uploads = new Map();

/** Keeps a file and returns its key. */
export async function keep(file) {
  const key = crypto.getRandomValues(new Uint32Array(2)).join("-");
  let size = await measured(file);
  if (file.size > MOST_BYTES && size.width) {
    file = new File([await smaller(size)], file.name, { type: "image/jpeg" });
    URL.revokeObjectURL(size.href);
    size = await measured(file);
  }
  uploads.set(key, { key, file, ...size });
  keepForTab(key, file);
  return key;
}

/** Returns the pictures among what was dropped or pasted. */
export function picturesOf(transfer) {
  return [...(transfer?.files ?? [])].filter(
    (file) => file.type.startsWith("image/") || /\.(heic|heif|avif)$/i.test(file.name),
  );
}

/** Calls back with pictures that are dropped on the page or pasted, or when something else was dropped. */
export function watchTransfers(overlay, onFiles, onNothing) {
  let depth = 0;
  const has = (type) => (event) => [...(event.dataTransfer?.types ?? [])].includes(type);
  const hasFiles = has("Files");
  const hasLink = (event) => has("text/uri-list")(event) && !event.target.matches?.("input, textarea");
  const show = (change) => {
    depth = change === 0 ? 0 : depth + change;
    overlay.hidden = depth <= 0;
  };
  window.addEventListener("dragenter", (event) => hasFiles(event) && show(1));
  window.addEventListener("dragleave", (event) => hasFiles(event) && show(-1));
  window.addEventListener("dragover", (event) => (hasFiles(event) || hasLink(event)) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    show(0);
    if (!hasFiles(event) && !hasLink(event)) return; // a link would take the browser away from here
    event.preventDefault();
    given(picturesOf(event.dataTransfer));
  });
  window.addEventListener("paste", (event) => {
    const found = picturesOf(event.clipboardData);
    if (!found.length) return;
    event.preventDefault();
    given(found);
  });
  const given = (found) => (found.length ? onFiles(found) : onNothing());
}

async function measured(file) {
  const href = URL.createObjectURL(file);
  const image = el("img", { src: href });
  const isShown = await image.decode().then(
    () => true,
    () => false,
  );
  return { href, width: isShown ? image.naturalWidth : 0, height: isShown ? image.naturalHeight : 0 };
}

/** Returns a large picture as a smaller JPEG. */
async function smaller({ href, width, height }) {
  const image = el("img", { src: href });
  await image.decode();
  const zoom = Math.min(1, SIDE / Math.max(width, height));
  const canvas = el("canvas", { width: Math.round(width * zoom), height: Math.round(height * zoom) });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

for (const [key, file] of await restored()) uploads.set(key, { key, file, ...(await measured(file)) });
