// An example picture, of the library or brought by the user, in one shape for those who draw it.

import { picture, thumbnail } from "./api.js";
import { shown, svg } from "./dom.js";
import { uploads } from "./uploads.js";

/** Returns {name, href, width, height, box} of an example of the query, or null if its file is not here any more. */
export async function subjectOf({ id, key, box }) {
  if (id) {
    const { name, width, height } = await picture(id);
    return { name: shown(name), href: thumbnail(id, 1280), width, height, box };
  }
  const upload = uploads.get(key);
  if (!upload) return null;
  return { name: shown(upload.file.name) || "Your picture", href: upload.href, width: upload.width, height: upload.height, box };
}

/** Returns a small drawing of an example, cut to the part that is meant. */
export function drawSubject({ href, width, height, box }) {
  const [left, top, right, bottom] = box ?? [0, 0, width, height];
  return svg(
    "svg",
    {
      class: "thumb",
      viewBox: `${left} ${top} ${right - left} ${bottom - top}`,
      preserveAspectRatio: "xMidYMid slice",
      "aria-hidden": "true",
    },
    svg("image", { href, width, height, preserveAspectRatio: "none" }),
  );
}
