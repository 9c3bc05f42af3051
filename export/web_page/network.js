/** Runs the exported network in LiteRT.js; all files are loaded from beside this one. */

import {Tensor, loadAndCompile, loadLiteRt} from "./runtime/litert.js";

async function open() {
  const response = await fetch("spec.json");
  if (!response.ok) throw new Error(`spec.json: ${response.status}`);
  const spec = await response.json();
  await loadLiteRt(new URL("runtime/", import.meta.url).href);
  const model = await loadAndCompile("model.tflite", {accelerator: "wasm"});
  const shape = [1, spec.image_size, spec.image_size, 3];

  /** Maps RGB pixels (Uint8Array) to probabilities (Float32Array). */
  async function predict(pixels) {
    const input = new Tensor(pixels, shape);
    try {
      const [output] = await model.run(input);
      try {
        return (await output.data()).slice();
      } finally {
        output.delete();
      }
    } finally {
      input.delete();
    }
  }

  // The first call is slower: it prepares what the others use.
  await predict(new Uint8Array(spec.image_size ** 2 * 3));
  return {spec, predict};
}

/** A promise of `{spec, predict}`. */
export const network = open();
