/** Writes a ZIP archive of files as they are: photographs are compressed already. Format: PKWARE's APPNOTE.TXT 6.3. */

const TABLE = Uint32Array.from({length: 256}, (_, value) => {
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 && 0xedb88320);
  return value;
});

const short = (value) => [value & 255, (value >>> 8) & 255];
const long = (value) => [...short(value), ...short(value >>> 16)];

/** CRC-32 of a Uint8Array, as in ZIP and PNG. */
export function crc32(bytes) {
  let rest = -1;
  for (const byte of bytes) rest = (rest >>> 8) ^ TABLE[(rest ^ byte) & 255];
  return ~rest >>> 0;
}

/**
 * The archive as a Blob.
 *
 * @param files `[{name, date, crc, blob}]`: different names, a Date, `crc32` of the bytes, and a Blob of them;
 *   fewer than 65,536 files and 4 GB together, as the format without its 64-bit extension allows.
 */
export function zip(files) {
  const [content, directory] = [[], []];
  let [offset, listed] = [0, 0];
  for (const file of files) {
    const name = new TextEncoder().encode(file.name);
    const described = description(file, name);
    // Signature; in the directory also: version of the writer, no comment, first disk, no attributes, place.
    const header = Uint8Array.from([...long(0x04034b50), ...described, ...name]);
    const rest = [...short(0), ...short(0), ...short(0), ...long(0), ...long(offset)];
    const entry = Uint8Array.from([...long(0x02014b50), ...short(20), ...described, ...rest, ...name]);
    content.push(header, file.blob);
    directory.push(entry);
    offset += header.length + file.blob.size;
    listed += entry.length;
  }
  const count = [...short(files.length), ...short(files.length)];
  const end = [...long(0x06054b50), ...long(0), ...count, ...long(listed), ...long(offset), ...short(0)];
  return new Blob([...content, ...directory, Uint8Array.from(end)], {type: "application/zip"});
}

/** What both headers of a file say, from the version that is needed to the length of the extra field. */
function description({date, crc, blob}, name) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  // MS-DOS counts years from 1980.
  const day = (Math.max(0, date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  // Version 2.0, names in UTF-8, stored.
  const kind = [...short(20), ...short(0x0800), ...short(0)];
  const size = long(blob.size);
  return [...kind, ...short(time), ...short(day), ...long(crc), ...size, ...size, ...short(name.length), ...short(0)];
}
