"use strict";

// All words from the server go in as text, never as HTML.
document.addEventListener("DOMContentLoaded", async () => {
  const part = (id) => document.getElementById(id);
  const say = (text) => {
    part("trouble").textContent = text;
    part("trouble").hidden = false;
  };
  const gone = "The server does not answer. Is medvlp serve still running?";
  const fetched = async (path) => {
    const reply = await fetch(path);
    if (!reply.ok) throw new Error(path);
    part("trouble").hidden = true;
    return reply.json();
  };

  let slide;
  try {
    slide = await fetched("slide.json");
  } catch {
    say(gone);
    return;
  }
  const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const viewer = OpenSeadragon({
    id: "slide",
    tileSources: "slide.dzi",
    drawer: "canvas",
    prefixUrl: "",
    clickTimeThreshold: Infinity, // however slow the press: one that does not move is a click
    showNavigationControl: false,
    showNavigator: true,
    navigatorPosition: "TOP_RIGHT",
    navigatorSizeRatio: 0.16,
    navigatorAutoFade: false,
    navigatorBackground: "#fff",
    maxZoomPixelRatio: 4,
    visibilityRatio: 0.5,
    animationTime: calm ? 0 : 0.4,
    gestureSettingsMouse: { clickToZoom: false },
    gestureSettingsPen: { clickToZoom: false },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
  });
  window.slideViewer = viewer; // for the browser's console
  const onSlide = ([x, y, width, height]) => viewer.world.getItemAt(0).imageToViewportRectangle(x, y, width, height);

  // Heat map
  const heat = document.createElement("img");
  heat.className = "heat";
  heat.alt = "";
  let hidden = false;
  const fade = () => {
    heat.style.opacity = hidden ? 0 : part("opacity").value / 100;
    part("opacity-text").textContent = hidden ? "off (h)" : `${part("opacity").value}%`;
  };
  let current = null;
  const press = () => {
    for (const button of part("typical").children) button.setAttribute("aria-pressed", button.dataset.row === String(current));
  };
  const colour = () => {
    const chosen = slide.classes[part("class").value];
    const stretched = part("stretch").checked;
    heat.src = `heat/${part("class").value}-${stretched ? 1 : 0}.png`;
    const [low, high] = stretched ? chosen.range : [0, 1];
    part("low").textContent = stretched ? low.toFixed(3) : low;
    part("high").textContent = stretched ? high.toFixed(3) : high;
    part("typical").replaceChildren(
      ...chosen.typical.map((row, place) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = place + 1;
        button.setAttribute("aria-label", `Show typical tile ${place + 1} of ${chosen.name}`);
        button.dataset.row = row;
        button.addEventListener("click", () => show(`tile/${row}.json`, true));
        return button;
      }),
    );
    press();
  };
  heat.addEventListener("error", () => say(gone));
  part("class").addEventListener("change", colour);
  part("stretch").addEventListener("change", colour);
  part("opacity").addEventListener("input", () => {
    hidden = false;
    fade();
  });

  // The tile that was clicked
  const outline = document.createElement("div");
  outline.className = "outline";
  const made = (tag, className, text) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const score = (entry) => {
    const box = made("div", "score", "");
    const line = made("div", "line", "");
    const meter = document.createElement("meter");
    meter.value = entry.probability;
    meter.setAttribute("aria-label", `probability of ${entry.name}`);
    line.append(made("span", "name", entry.name), meter, made("span", "value", entry.probability.toFixed(3)));
    const texts = document.createElement("ul");
    for (const near of entry.nearest) {
      const item = document.createElement("li");
      item.append(made("span", "cosine", near.cosine.toFixed(3)), made("span", "", near.text));
      texts.append(item);
    }
    box.append(line, texts);
    return box;
  };
  const leave = (why) => {
    current = null;
    press();
    viewer.removeOverlay(outline);
    part("tile").hidden = true;
    part("hint").hidden = false;
    part("hint").textContent = why;
  };
  let asked = 0;
  const show = async (path, go) => {
    const turn = ++asked;
    let tile;
    try {
      tile = await fetched(path);
    } catch {
      say(gone);
      return;
    }
    if (turn !== asked) return; // a later click was faster
    if (tile === null) {
      leave("No tile was scored here. Click a coloured tile.");
      return;
    }
    const place = onSlide([tile.x, tile.y, tile.side, tile.side]);
    viewer.removeOverlay(outline);
    viewer.addOverlay({ element: outline, location: place });
    part("where").textContent = `Top left corner at x ${tile.x}, y ${tile.y}; ${tile.side} pixels wide` +
      (slide.mpp === null ? "." : ` (${Math.round(tile.side * slide.mpp)} µm).`);
    part("scores").replaceChildren(...tile.classes.map(score));
    part("tile").hidden = false;
    part("hint").hidden = true;
    current = tile.row;
    press();
    // beside the slide, or below it where it stays at the top of a narrow window
    const beside = window.matchMedia("(min-width: 821px)").matches;
    part("tile-section").scrollIntoView({ block: beside ? "nearest" : "start" });
    if (go) {
      const around = place.clone();
      around.x -= place.width;
      around.y -= place.height;
      around.width *= 3;
      around.height *= 3;
      viewer.viewport.fitBounds(around, calm);
    }
  };
  viewer.addHandler("canvas-click", (event) => {
    if (!event.quick || !viewer.world.getItemCount()) return;
    const point = viewer.world.getItemAt(0).viewportToImageCoordinates(viewer.viewport.pointFromPixel(event.position));
    const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
    if (x >= 0 && y >= 0 && x < slide.size[0] && y < slide.size[1]) show(`at/${x}_${y}.json`, false);
  });

  // Scale bar: the largest 1, 2 or 5 times a power of ten that fits
  const measure = () => {
    if (slide.mpp === null || !viewer.world.getItemCount()) return;
    const umPerPixel = slide.mpp / viewer.world.getItemAt(0).viewportToImageZoom(viewer.viewport.getZoom(true));
    const most = 160 * umPerPixel;
    const ten = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((factor) => factor * ten).find((um) => um <= most);
    part("bar").style.width = `${length / umPerPixel}px`;
    part("bar-text").textContent = length < 1000 ? `${Number(length.toPrecision(1))} µm` : `${length / 1000} mm`;
    // an objective of 10x is taken to give 1 µm per pixel, as scanners do
    part("power").textContent = `about ${Number((10 / umPerPixel).toPrecision(2))}×`;
  };
  viewer.addHandler("update-viewport", measure);
  viewer.addHandler("resize", measure);

  // Keys, wherever the focus is but in a field of the form
  const zoom = (factor) => viewer.viewport.zoomBy(factor) && viewer.viewport.applyConstraints();
  const all = () => viewer.viewport.goHome();
  const move = (right, down) => {
    const step = viewer.viewport.getBounds().getSize().times(0.2);
    viewer.viewport.panBy(new OpenSeadragon.Point(right * step.x, down * step.y)).applyConstraints();
  };
  const keys = {
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    "0": all,
    ArrowLeft: () => move(-1, 0),
    ArrowRight: () => move(1, 0),
    ArrowUp: () => move(0, -1),
    ArrowDown: () => move(0, 1),
    h: () => {
      hidden = !hidden;
      fade();
    },
    Escape: () => {
      asked += 1;
      leave("Click a tile on the slide to see its scores and the texts nearest to it.");
    },
  };
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest("input, select, summary, aside");
    const wanted = keys[event.key];
    if (!wanted || event.ctrlKey || event.metaKey || event.altKey) return;
    if (field && event.key.startsWith("Arrow")) return; // arrows belong to the slider, the list and the panel
    if (!viewer.world.getItemCount()) return;
    event.preventDefault();
    wanted();
  });
  viewer.innerTracker.keyHandler = null; // the library's own keys would also turn and mirror the slide
  viewer.innerTracker.keyDownHandler = null;
  part("in").addEventListener("click", () => zoom(2));
  part("out").addEventListener("click", () => zoom(0.5));
  part("all").addEventListener("click", all);

  viewer.addHandler("open", () => {
    viewer.addOverlay({ element: heat, location: onSlide(slide.heat) });
    colour();
    fade();
    measure();
  });
  viewer.addHandler("open-failed", () => say(gone));
  viewer.addHandler("tile-load-failed", () => say(gone));
});
