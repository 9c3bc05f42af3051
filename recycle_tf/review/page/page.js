/** Shows one image after another, and sends a decision about each. */

import {TEXTS} from "./texts.js";

const find = (id) => document.getElementById(id);
/** What is shown; every change goes through `show`. */
const shown = {language: /^ko\b/.test(navigator.language) ? "ko" : "en", place: 0, ready: false};
/** The classes that have a number key. */
const KEYS = 9;

function text(key, values = {}) {
  return TEXTS[shown.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

function make(tag, name, ...content) {
  const element = Object.assign(document.createElement(tag), {className: name});
  element.append(...content);
  return element;
}

function percent(share) {
  return new Intl.NumberFormat(shown.language, {style: "percent"}).format(share);
}

const item = () => shown.state.images[shown.place];

function show(changes = {}) {
  Object.assign(shown, changes);
  document.documentElement.lang = shown.language;
  document.title = text("title");
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const button of document.querySelectorAll(".languages button")) {
    button.setAttribute("aria-pressed", String(button.lang === shown.language));
  }
  if (!shown.state) return;
  const {images, out, command} = shown.state;
  const decided = images.filter(({decision}) => decision).length;
  find("count").textContent = text("count", {decided, total: images.length});
  find("progress").max = images.length;
  find("progress").value = decided;
  find("position").textContent = text("position", {place: shown.place + 1, total: images.length});
  find("previous").disabled = shown.place === 0;
  find("next").disabled = shown.place === images.length - 1;
  find("written").textContent = text("written", {out, command});
  find("panel").hidden = false;
  const {label, name, split, decision, reasons} = item();
  find("image").alt = label === null ? text("newImage") : text("image", {label});
  find("file").textContent = `${name} · ${split}`;
  find("over").textContent = text(label === null ? "unlabeled" : "labeled");
  find("label").textContent = label ?? text("unknown");
  find("keep").disabled = label === null;
  find("decided").hidden = !decision;
  find("decided").textContent = decision ? describe(decision) : "";
  find("reasons").replaceChildren(...reasons.map(explain));
  for (const button of find("classes").children) showClass(button);
  showOthers(reasons);
}

function describe({action, label}) {
  return text({keep: "keptAs", move: "movedTo", drop: "dropped"}[action], {label});
}

function explain({kind, detail, suggested, probability}) {
  const known = kind in TEXTS.en && kind !== "other";
  const values = {detail, suggested, percent: probability === null ? "" : percent(probability)};
  return make("li", "", text(known ? kind : "other", values));
}

/** Made once, so that a button keeps the focus while images change. */
function makeClasses(labels) {
  const buttons = labels.map((name, index) => {
    const button = make("button", "", make("span", "class", name), make("small", ""));
    button.type = "button";
    button.dataset.label = name;
    if (index < KEYS) {
      button.prepend(make("kbd", "", String(index + 1)));
      button.setAttribute("aria-keyshortcuts", String(index + 1));
    }
    button.addEventListener("click", () => choose(name));
    return button;
  });
  find("classes").replaceChildren(...buttons);
}

function showClass(button) {
  const {label, decision, reasons} = item();
  const name = button.dataset.label;
  const suggested = reasons.some((reason) => reason.suggested === name);
  button.querySelector("small").textContent = name === label ? text("current") : suggested ? text("suggested") : "";
  button.classList.toggle("suggested", suggested);
  button.setAttribute("aria-pressed", String(decision?.label === name));
}

function showOthers(reasons) {
  const reason = reasons.find(({others}) => others.length);
  find("similar").hidden = !reason;
  if (!reason) return;
  const {suggested, others} = reason;
  find("compare").textContent = suggested ? text("compareClass", {label: suggested}) : text("compare");
  find("others").replaceChildren(...others.map(other));
}

function other({image, name, label}) {
  const picture = Object.assign(make("img", ""), {src: `thumbnail/${image}`, alt: "", loading: "lazy"});
  return make("li", "", make("figure", "", picture, make("figcaption", "", make("b", "", label ?? ""), ` ${name}`)));
}

/** Goes to an image; until it is shown, no decision is accepted. */
async function go(place) {
  const image = find("image");
  document.body.dataset.state = "loading";
  image.hidden = true;
  find("notice").hidden = false;
  find("notice").dataset.text = "loading";
  show({place, ready: false});
  const next = shown.state.images[place + 1];
  image.src = `image/${item().image}`;
  try {
    await image.decode();
    if (place !== shown.place) return;
    image.hidden = false;
    find("notice").hidden = true;
  } catch {
    if (place !== shown.place) return;
    find("notice").dataset.text = "unreadable";
  }
  show({ready: true});
  document.body.dataset.state = "ready";
  if (next) new Image().src = `image/${next.image}`;
}

async function post(place, body) {
  let answer;
  try {
    answer = await fetch(place, {
      method: "POST",
      headers: {"Content-Type": "application/json"},
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error(text("noServer"));
  }
  const found = answer.headers.get("Content-Type") === "application/json" ? await answer.json() : {};
  if (!answer.ok) throw new Error(found.error ?? text("refused"));
  return found;
}

/** Runs one action at a time, and says so if it was not saved. */
async function act(action) {
  if (!shown.ready) return;
  shown.ready = false;
  find("failure").textContent = "";
  try {
    await action();
  } catch (error) {
    find("failure").textContent = text("failed", {reason: error.message});
  }
  shown.ready = document.body.dataset.state === "ready";
}

function decide(action, label = null) {
  return act(async () => {
    // Arrows may move on before the answer is there.
    const one = item();
    const {decision} = await post("decide", {image: one.image, action, label});
    one.decision = decision;
    find("status").textContent = action === "drop" ? text("savedDrop") : text("saved", {label: decision.label});
    if (item() === one) await advance();
    else show();
  });
}

/** The current class again means that the label is right. */
function choose(label) {
  return label === item().label ? decide("keep") : decide("move", label);
}

async function advance() {
  const {images} = shown.state;
  const after = images.findIndex(({decision}, place) => place > shown.place && !decision);
  const first = images.findIndex(({decision}) => !decision);
  if (first === -1) {
    find("status").textContent = text("finished");
    return show();
  }
  await go(after === -1 ? first : after);
}

function undo() {
  return act(async () => {
    const {image, decision} = await post("undo", {});
    find("status").textContent = text(image === null ? "nothing" : "undone");
    const place = shown.state.images.findIndex((one) => one.image === image);
    if (place === -1) return;
    shown.state.images[place].decision = decision;
    await go(place);
  });
}

function move(step) {
  const place = shown.place + step;
  if (place in shown.state.images) go(place);
}

/** By the place of a key, which is the same whatever the keyboard writes, for example 한글. */
function press(event) {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || !shown.state) return;
  if (!find("shortcuts").checked) return;
  const number = /^(?:Digit|Numpad)([1-9])$/.exec(event.code);
  const name = number && shown.state.labels[number[1] - 1];
  const onControl = event.target.closest("button, input");
  const actions = {KeyX: () => decide("drop"), KeyZ: undo, ArrowLeft: () => move(-1), ArrowRight: () => move(1)};
  if (!onControl && item().label !== null) actions.Space = () => decide("keep");
  const action = name ? () => choose(name) : actions[event.code];
  if (!action) return;
  event.preventDefault();
  action();
}

find("keep").addEventListener("click", () => decide("keep"));
find("drop").addEventListener("click", () => decide("drop"));
find("undo").addEventListener("click", undo);
find("previous").addEventListener("click", () => move(-1));
find("next").addEventListener("click", () => move(1));
for (const button of document.querySelectorAll(".languages button")) {
  button.addEventListener("click", () => show({language: button.lang}));
}
addEventListener("keydown", press);
// A button that was clicked would otherwise take the next press of the space bar.
addEventListener("click", (event) => {
  if (event.detail) event.target.closest("button")?.blur();
});

show();
try {
  const answer = await fetch("state");
  shown.state = await answer.json();
  makeClasses(shown.state.labels);
  const first = shown.state.images.findIndex(({decision}) => !decision);
  await go(Math.max(first, 0));
  if (first === -1) find("status").textContent = text("finished");
} catch {
  find("failure").textContent = text("noServer");
}
