// Search over all chapters, without a server: the index is a script that is loaded when needed.
"use strict";

const form = document.getElementById("search");
const query = document.getElementById("query");
const list = document.getElementById("found");
const count = document.getElementById("count");
const MOST = 30; // results shown
const AROUND = 70; // characters on each side of a word that was found

form.hidden = false;
if (window.innerWidth < 1024) document.querySelector(".contents details")?.removeAttribute("open");

let loading = null;
function index() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "search-index.js";
    script.onload = () => resolve(window.workbook);
    script.onerror = reject;
    document.head.append(script);
  });
  return loading;
}

// How well a section answers: words in its title count most, many mentions more than few.
function score(words, chapter, section, text) {
  let sum = 0;
  for (const word of words) {
    const titled = (section || chapter).toLowerCase().includes(word) ? 20 : 0;
    const mentions = Math.min(text.split(word).length - 1, 10);
    if (!titled && !mentions) return 0;
    sum += titled + mentions;
  }
  return sum;
}

function excerpt(text, words) {
  const lower = text.toLowerCase();
  const places = words.map((word) => lower.indexOf(word)).filter((place) => place >= 0);
  const start = Math.max(0, Math.min(...places, text.length) - AROUND);
  return (start ? "… " : "") + text.slice(start, start + 3 * AROUND);
}

// Text with the words that were looked for marked; built from nodes, so nothing in it is markup.
function marked(text, words) {
  const found = new RegExp(words.map((word) => word.replace(/\W/g, "\\$&")).join("|"), "gi");
  const whole = document.createElement("span");
  let end = 0;
  for (const match of text.matchAll(found)) {
    const mark = document.createElement("mark");
    mark.textContent = match[0];
    whole.append(text.slice(end, match.index), mark);
    end = match.index + match[0].length;
  }
  whole.append(text.slice(end));
  return whole;
}

function entry([href, chapter, section, text], words) {
  const link = document.createElement("a");
  const title = document.createElement("b");
  link.href = href;
  link.addEventListener("click", close); // it may lead to this very page
  title.textContent = section ? `${chapter}: ${section}` : chapter;
  link.append(title, marked(excerpt(text, words), words));
  const item = document.createElement("li");
  item.append(link);
  return item;
}

async function search() {
  const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return close();
  let sections;
  try {
    sections = await index();
  } catch {
    count.textContent = "search-index.js is missing beside this page";
    return;
  }
  const found = sections
    .map((row) => [score(words, row[1], row[2], row[3].toLowerCase()), row])
    .filter(([points]) => points > 0)
    .sort((one, other) => other[0] - one[0]);
  list.replaceChildren(...found.slice(0, MOST).map(([, row]) => entry(row, words)));
  const many = `${found.length} ${found.length === 1 ? "section" : "sections"}`;
  count.textContent = found.length ? many : "nothing found";
}

function close() {
  list.replaceChildren();
  count.textContent = "";
}

query.addEventListener("input", search);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  list.querySelector("a")?.click();
});
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "/" && !typing) {
    event.preventDefault();
    query.focus();
  } else if (event.key === "Escape" && form.contains(document.activeElement)) {
    close();
    query.focus();
  } else if (/^Arrow(Up|Down)$/.test(event.key) && form.contains(document.activeElement)) {
    const stops = [query, ...list.querySelectorAll("a")];
    const next = stops.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    stops[Math.min(Math.max(next, 0), stops.length - 1)].focus();
    event.preventDefault();
  }
});
document.addEventListener("click", (event) => form.contains(event.target) || close());
