/** Keeps the photographs that the page was not sure about, so that they can be saved and given a class. */

import {crc32, zip} from "./zip.js";

const kept = [];

/**
 * Keeps the bytes of a File, which a phone may delete soon; returns how many photographs are kept.
 *
 * The same bytes are kept once.
 */
export async function keep(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const crc = crc32(bytes);
  if (!kept.some((one) => one.crc === crc && one.blob.size === bytes.length)) {
    kept.push({name: free(file.name), date: new Date(file.lastModified), crc, blob: new Blob([bytes])});
  }
  return kept.length;
}

/** All that was kept, as a File: a ZIP archive with the time in its name. */
export function archive() {
  return new File([zip(kept)], `not_sure_${stamp()}.zip`, {type: "application/zip"});
}

/** The local time for a file name, e.g. 20261127_105900. */
export function stamp() {
  const now = new Date();
  const parts = [now.getMonth() + 1, now.getDate(), now.getHours(), now.getMinutes(), now.getSeconds()];
  const [month, day, ...time] = parts.map((part) => String(part).padStart(2, "0"));
  return `${now.getFullYear()}${month}${day}_${time.join("")}`;
}

/** The name, with a number if it is taken, and without characters that some system does not allow in names. */
function free(name) {
  const allowed = name.replace(/[\\/:*?"<>|\p{C}]/gu, "_").replace(/\p{Z}/gu, " ").replace(/^\./, "_");
  const [, stem, suffix] = allowed.match(/^(.*?)(\.[^.]*)?$/);
  // Some systems do not distinguish capitals, or two ways to write an accent.
  const taken = new Set(kept.map((one) => comparable(one.name)));
  let [found, number] = [allowed, 1];
  while (taken.has(comparable(found))) found = `${stem}-${++number}${suffix ?? ""}`;
  return found;
}

function comparable(name) {
  return name.normalize("NFC").toLowerCase();
}
