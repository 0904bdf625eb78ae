// Folders as a tree, made of their paths.

/** Returns whether a folder lies below another. */
export const within = (path, folder) => path !== folder && path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);

/**
 * Returns the tree of some folders, which have a `path` each: `one` is the folder, `name` its path from the folder that
 * it lies in, and `below` the folders in it.
 */
export function treeOf(folders) {
  const roots = [];
  const open = []; // from the root to the folder before
  for (const one of [...folders].sort((a, b) => inOrder(a.path, b.path))) {
    while (open.length && !within(one.path, open.at(-1).one.path)) open.pop();
    const node = { one, name: one.path, below: [] };
    (open.at(-1)?.below ?? roots).push(node);
    open.push(node);
  }
  return named(roots, common(roots.map(({ one }) => one.path)));
}

function named(nodes, lead) {
  for (const node of nodes) {
    node.name = node.one.path.slice(lead.length) || node.one.path;
    named(node.below, node.one.path.endsWith("/") ? node.one.path : `${node.one.path}/`);
  }
  return nodes;
}

/** Compares paths folder by folder, as people order names; what lies in a folder follows it. */
function inOrder(a, b) {
  const [left, right] = [a.split("/"), b.split("/")];
  const place = left.findIndex((name, at) => name !== right[at]);
  if (place < 0 || place >= right.length) return left.length - right.length;
  return collator.compare(left[place], right[place]) || (left[place] < right[place] ? -1 : 1);
}

const collator = new Intl.Collator("en", { numeric: true });

/** Returns the beginning that paths share, up to a slash. */
function common(paths) {
  let lead = paths[0] ?? "";
  for (const path of paths) while (!path.startsWith(lead)) lead = lead.slice(0, -1);
  return lead.slice(0, lead.lastIndexOf("/") + 1);
}
