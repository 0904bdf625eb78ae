// What is taken out of the page: paths for the clipboard, tables and files to be saved.

import { counted, el } from "./dom.js";

const COLUMNS = ["path", "width", "height", "format", "size_bytes", "taken_at"];
const FORMULA = /^[=+\-@\t\r]/;

/** Copies the paths of pictures, each on a line, and returns a sentence on that. */
export async function copied(pictures) {
  const texts = pictures.filter(({ path_base64: bytes, path }) => bytes === undefined && !/[\r\n]/.test(path));
  const nLeft = pictures.length - texts.length;
  const left = nLeft ? `${counted(nLeft, "path")} cannot be copied: export ${nLeft === 1 ? "it" : "them"} as JSON` : "";
  if (!texts.length) return left;
  const isCopied = await copy(texts.map(({ path }) => path).join("\n"));
  if (!isCopied) return "The browser does not let this page copy";
  return [texts.length === 1 ? "Path copied" : `${counted(texts.length, "path")} copied`, left].filter(Boolean).join("; ");
}

async function copy(text) {
  if (navigator.clipboard)
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  // Without encryption a page of another machine has no clipboard, but a field has.
  const field = el("textarea", { class: "unseen", "aria-hidden": "true" });
  const held = document.activeElement;
  field.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  held?.focus();
  return isCopied;
}

/** Returns pictures as JSON, with all that is known of them. */
export const asJson = (pictures) => `${JSON.stringify(pictures, null, 1)}\n`;

/** Returns pictures as a table with commas, as RFC 4180 has it, or with another separator. */
export function asTable(pictures, separator) {
  const columns = pictures.some((one) => one.path_base64) ? [...COLUMNS, "path_base64"] : COLUMNS;
  const rows = [columns, ...pictures.map((one) => columns.map((name) => one[name] ?? ""))];
  return rows.map((row) => `${row.map((value) => cell(value, separator)).join(separator)}\r\n`).join("");
}

/** Returns a value as a cell: in quotes where it must be, and no formula to a spreadsheet. */
function cell(value, separator) {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return /["\r\n]/.test(text) || text.includes(separator) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Lets the browser save a file. */
export function save(name, content, type) {
  const href = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000); // the browser reads it after the click
}
