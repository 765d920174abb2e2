// Turns the dials of every film on the page that has no controls yet.
"use strict";
for (const film of document.querySelectorAll("figure.film:not([data-ready])")) {
  film.dataset.ready = "yes";
  const { dials, captions, pictures, speeds } = JSON.parse(film.querySelector("script").textContent);
  const image = film.querySelector("img");
  const words = film.querySelector("figcaption");
  words.setAttribute("aria-live", "polite");
  const controls = document.createElement("div");
  controls.className = "controls";
  image.after(controls);

  const make = (tag, settings, parent = controls) => {
    const node = Object.assign(document.createElement(tag), settings);
    parent.append(node);
    return node;
  };
  const button = (text, name, press) => {
    const node = make("button", { type: "button", textContent: text, title: name, onclick: press });
    node.setAttribute("aria-label", name);
    return node;
  };

  // Positions are counted as in nested loops, the last dial fastest.
  const show = () => {
    let place = 0;
    dials.forEach(({ labels }, i) => {
      const at = Number(sliders[i].value);
      place = place * labels.length + at;
      values[i].textContent = labels[at];
      sliders[i].setAttribute("aria-valuetext", labels[at]);
    });
    image.src = "data:image/png;base64," + pictures[place];
    image.alt = words.textContent = captions[place];
  };

  let clock = null;
  let turn = null;
  const stop = () => {
    clearInterval(clock);
    clock = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", (play.title = "play"));
  };
  const step = (by) => {
    const main = sliders[0];
    main.value = Math.min(Math.max(Number(main.value) + by, 0), Number(main.max));
    show();
  };
  const begin = () => {
    clearInterval(clock);
    clock = setInterval(() => {
      if (Number(sliders[0].value) === Number(sliders[0].max)) stop();
      else step(1);
    }, Number(turn.value));
    play.textContent = "❚❚";
    play.setAttribute("aria-label", (play.title = "pause"));
  };

  const plays = dials[0].labels.length > 1;
  const play = plays && button("▶", "play", () => {
    if (clock !== null) return stop();
    if (Number(sliders[0].value) === Number(sliders[0].max)) sliders[0].value = 0;
    show();
    begin();
  });
  if (plays) {
    button("|◀", "one back", () => step(-1));
    button("▶|", "one forward", () => step(1));
  }
  const values = [];
  const sliders = dials.map(({ name, labels, start }) => {
    const label = make("label", { textContent: name });
    const slider = make("input", { type: "range", min: 0, max: labels.length - 1, oninput: show }, label);
    slider.value = start; // after max is known
    values.push(make("output", { textContent: labels[start] }, label));
    return slider;
  });
  if (plays) {
    const label = make("label", { textContent: "speed" });
    turn = make("select", { onchange: () => clock !== null && begin() }, label);
    for (const [name, milliseconds] of Object.entries(speeds)) {
      make("option", { textContent: name, value: milliseconds, selected: name === "normal" }, turn);
    }
  }
}
