/** The page: takes an image, runs the network, and shows the answer in the chosen language. */

import {bin, container} from "./bins.js";
import {network} from "./network.js";
import {decode, draw, prepare} from "./image.js";
import {decide, localized} from "./rules.js";
import {isUnlike, unlike} from "./unlike.js";
import {archive, keep, stamp} from "./unsure.js";
import {TEXTS} from "./texts.js";

const find = (id) => document.getElementById(id);
const [photo, video] = [find("photo"), find("video")];
/** State of the page; every change goes through `show`. */
const shown = {language: /^ko\b/.test(navigator.language) ? "ko" : "en", state: "loading", unsure: 0, starting: false};
let requests = 0;

function show(changes) {
  Object.assign(shown, changes);
  const {state, language, spec, starting} = shown;
  document.body.dataset.state = state;
  document.documentElement.lang = language;
  document.title = text("title");
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  for (const button of document.querySelectorAll(".languages button")) {
    button.setAttribute("aria-pressed", String(button.lang === language));
  }
  photo.alt = text("photo");
  photo.hidden = !photo.src || state === "live";
  video.hidden = state !== "live";
  find("camera").hidden = find("choose").hidden = state === "live";
  find("shutter").hidden = find("stop").hidden = state !== "live";
  find("camera").disabled = find("choose").disabled = !spec || starting || state === "computing";
  find("answer").replaceChildren(...(state === "answered" ? answer() : [element("p", "notice", text(notice()))]));
  find("likelihoods").hidden = find("speed").hidden = state !== "answered";
  if (state === "answered") {
    find("likelihoods").replaceChildren(...likelihoods());
    find("likelihoods").setAttribute("aria-label", text("alternatives"));
    find("speed").textContent = text("speed", shown.milliseconds);
  }
  find("save").hidden = !shown.unsure || state === "live";
  find("saveText").textContent = text("save", {count: shown.unsure});
  if (spec) find("about").replaceChildren(...about());
}

function text(key, values = {}) {
  return TEXTS[shown.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Key of the text that is shown instead of an answer. */
function notice() {
  return shown.state === "live" ? "ready" : shown.state;
}

function element(tag, name, content) {
  return Object.assign(document.createElement(tag), {className: name, textContent: content});
}

function percent(share, digits = 0) {
  const style = {style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits};
  return new Intl.NumberFormat(shown.language, style).format(share);
}

/** The class with an index: its color, drawing, and name in the chosen language. */
function named(index) {
  const {labels} = shown.spec;
  const names = shown.spec[`labels_${shown.language}`] ?? labels;
  return {...bin(labels[index], index), name: names[index]};
}

function icon(of) {
  const span = element("span", "icon", "");
  span.innerHTML = of.drawing;
  return span;
}

/** The bin of a place called `name`: its color, drawing, and name in the chosen language. */
function placed(name) {
  const {bins} = shown.spec.rules;
  const drawn = container(bins[name].color, Object.keys(bins).indexOf(name));
  return {...drawn, name: localized(bins[name], shown.language)};
}

/** What is shown for an image that the network cannot know. */
function stranger() {
  const share = percent(Math.min(unlike(shown.probabilities), 0.99));
  return [
    element("span", "icon question", "?"),
    element("p", "name", text("unlike")),
    element("p", "perhaps", text("unlikeWhy", {percent: share})),
    element("p", "advice", text("unlikeAdvice")),
  ];
}

/** Whether the network can know the image, whether it is sure, and the decision by the rules if there are any. */
function judge(spec, probabilities) {
  const known = !isUnlike(spec, probabilities);
  const decision = spec.rules && decide(spec, probabilities);
  const certain = decision ? decision.sure : Math.max(...probabilities) >= (spec.threshold ?? 0);
  return {known, sure: known && certain, decision};
}

function answer() {
  const {spec, order, probabilities} = shown;
  const {known, sure, decision} = shown.verdict;
  find("answer").dataset.sure = String(sure);
  if (!known) return stranger();
  if (!sure) return doubt(decision);
  const best = decision ? placed(decision.bin) : named(order[0]);
  const probability = decision ? decision.probability : probabilities[order[0]];
  find("answer").style.setProperty("--bin", best.color);
  const bar = element("span", "bar", "");
  bar.style.setProperty("--share", probability);
  const confidence = {percent: percent(Math.min(probability, 0.99))};
  if (decision?.label) confidence.name = named(spec.labels.indexOf(decision.label)).name;
  return [
    icon(best),
    element("p", "over", text(decision ? "goesInto" : "goesIn")),
    element("p", "name", best.name),
    bar,
    element("p", "sure", text(confidence.name ? "sureOf" : "sure", confidence)),
    ...(decision ? instructions(decision) : []),
  ];
}

/** What is shown if no answer reaches the threshold. */
function doubt(decision) {
  const [first, second] = shown.order.map((index) => named(index).name);
  const safest = decision && text("inDoubt", {bin: placed(decision.bin).name});
  return [
    element("span", "icon question", "?"),
    element("p", "name", text("notSure")),
    element("p", "perhaps", text("perhaps", {first, second})),
    element("p", "advice", text("advice")),
    ...(safest ? [element("p", "advice safest", safest), place()] : []),
  ];
}

/** Advice and question of the class, and whose rules they are. */
function instructions({label}) {
  const rule = shown.spec.rules.classes[label] ?? {};
  const lines = [];
  if (rule.advice) lines.push(element("p", "instruction", localized(rule.advice, shown.language)));
  if (rule.question) {
    const other = placed(rule.question.if_yes);
    const line = element("p", "instruction ask", localized(rule.question, shown.language));
    const chip = element("span", "chip", other.name);
    chip.style.setProperty("--bin", other.color);
    line.append(" ", text("ifYes"), " ", chip);
    lines.push(line);
  }
  return [...lines, place()];
}

function place() {
  return element("p", "place", text("rulesOf", {place: localized(shown.spec.rules.name, shown.language)}));
}

function likelihoods() {
  return shown.order.map((index) => {
    const [one, row, bar] = [named(index), element("li", "", ""), element("span", "bar", "")];
    row.dataset.label = shown.spec.labels[index];
    row.style.setProperty("--bin", one.color);
    bar.style.setProperty("--share", shown.probabilities[index]);
    const share = element("span", "share", percent(shown.probabilities[index], 1));
    row.append(icon(one), element("span", "name", one.name), bar, share);
    return row;
  });
}

function about() {
  const {spec} = shown;
  const rows = {
    network: `${spec.arch}, ${spec.image_size} × ${spec.image_size}`,
    dataset: spec.dataset,
    bins: spec.labels.map((_, index) => named(index).name).join(", "),
  };
  if (spec.rules) {
    const {name, valid, source} = spec.rules;
    rows.rules = [localized(name, shown.language), valid, source].filter(Boolean).join(". ");
  }
  if (spec.license) rows.license = spec.license;
  if (spec.calibration?.accuracy_above_threshold) {
    const {accuracy_above_threshold: accuracy, share_above_threshold: coverage, examples} = spec.calibration;
    rows.measured = text("threshold", {
      threshold: percent(spec.threshold),
      accuracy: percent(accuracy),
      coverage: percent(coverage),
      examples,
    });
  }
  rows.limits = text("limit");
  return Object.entries(rows).flatMap(([key, value]) => [element("dt", "", text(key)), element("dd", "", value)]);
}

/** Shows an image File and classifies the pixels that `read` returns. */
async function classify(file, read) {
  const number = ++requests;
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  show({state: "computing"});
  // Lets the browser draw the page before the computation blocks it.
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  try {
    const {spec, predict} = await network;
    const start = performance.now();
    const pixels = prepare(await read(), spec.image_size, spec.resize);
    const prepared = performance.now();
    const probabilities = await predict(pixels);
    const computed = performance.now();
    if (number !== requests) return;
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
    const milliseconds = {read: Math.round(prepared - start), network: (computed - prepared).toFixed(1)};
    const verdict = judge(spec, probabilities);
    // The answer stands even if the phone has deleted the file meanwhile.
    if (!verdict.sure) shown.unsure = await keep(file).catch(() => shown.unsure);
    if (number !== requests) return;
    show({state: "answered", probabilities, order, milliseconds, verdict});
  } catch (error) {
    console.error(error);
    if (number !== requests) return;
    photo.removeAttribute("src");
    show({state: "unreadable"});
  }
}

async function classifyFile(file) {
  if (!file) return;
  await classify(file, () => decode(file));
  // A button that is disabled meanwhile loses the focus.
  if (document.activeElement === document.body) find("choose").focus();
}

async function startCamera() {
  // Browsers allow a live camera only over https or on localhost; otherwise the camera app is opened.
  if (!navigator.mediaDevices) return find("snapshot").click();
  // Until permission is given, nothing else may begin: of two cameras one would never be stopped.
  show({starting: true});
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({
      video: {facingMode: "environment", width: {ideal: 1280}, height: {ideal: 1280}},
    });
    const [track] = video.srcObject.getTracks();
    track.addEventListener("ended", cameraEnded);
    await video.play();
    if (track.readyState === "ended") throw new Error("the camera ended");
  } catch {
    if (video.srcObject) stopCamera();
    show({state: "noCamera", starting: false});
    return find("camera").focus();
  }
  show({state: "live", starting: false});
  find("shutter").focus();
}

/** The camera was unplugged, or another app took it: its last frame must not be taken for the present. */
function cameraEnded() {
  if (shown.state !== "live") return;
  stopCamera();
  show({state: "noCamera"});
  find("camera").focus();
}

function stopCamera() {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

find("camera").addEventListener("click", startCamera);
find("choose").addEventListener("click", () => find("file").click());
find("stop").addEventListener("click", () => {
  stopCamera();
  show({state: shown.order && photo.src ? "answered" : "ready"});
  find("camera").focus();
});
find("shutter").addEventListener("click", async () => {
  if (!video.videoWidth) return;
  const image = draw(video, video.videoWidth, video.videoHeight);
  stopCamera();
  photo.removeAttribute("src");
  show({state: "computing"});
  try {
    const canvas = Object.assign(document.createElement("canvas"), {width: image.width, height: image.height});
    canvas.getContext("2d").putImageData(image, 0, 0);
    const content = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg"));
    await classify(new File([content], `camera_${stamp()}.jpg`), () => image);
  } catch (error) {
    console.error(error);
    show({state: "unreadable"});
  }
  find("camera").focus();
});
find("save").addEventListener("click", () => {
  const file = archive();
  const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(file), download: file.name});
  link.click();
  // The browser reads the file after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});
for (const input of [find("file"), find("snapshot")]) {
  input.addEventListener("change", () => {
    classifyFile(input.files[0]);
    input.value = "";
  });
}
for (const button of document.querySelectorAll(".languages button")) {
  button.addEventListener("click", () => show({language: button.lang}));
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (shown.spec && !shown.starting && shown.state !== "live") classifyFile(event.dataTransfer.files[0]);
});

show({});
network.then(
  ({spec}) => show({state: "ready", spec}),
  (error) => {
    console.error(error);
    show({state: "failed"});
  },
);
