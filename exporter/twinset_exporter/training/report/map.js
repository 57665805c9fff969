// Fills every `.map` of the page from the JSON that lies in it. Nothing is fetched; texts of users only ever become text.
const CLICK = 4, REACH = 14;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

class ItemMap extends View {
  constructor(root) {
    super();
    this.root = root;
    const data = JSON.parse(root.querySelector("script").textContent);
    this.names = data.names;
    this.points = data.points;
    this.count = data.names.length;
    this.attributes = data.attributes.map((attribute) => new Attribute(attribute));
    this.attribute = this.attributes[0] ?? null;
    this.chosen = null; // a class that stands out
    this.wanted = ""; // what is searched for
    this.item = -1;
    this.pinned = false;
    this.printing = false;
    this.build(data.atlas);
    this.show(this.attribute);
    new ResizeObserver(() => this.resize()).observe(this.stage);
    dark.addEventListener("change", () => this.show(this.attribute));
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
  }

  // ---- elements

  build(atlas) {
    const select = element("select", { onchange: () => this.show(this.attributes[select.selectedIndex]) });
    select.append(...this.attributes.map(({ name }) => element("option", {}, name)));
    const search = element("input", {
      type: "search", placeholder: "name", size: "14",
      oninput: () => this.search(search.value),
      onkeydown: (event) => { if (event.key === "Enter") this.nextMatch(); },
    });
    this.pictures = element("input", { type: "checkbox", onchange: () => this.draw() });
    const controls = element("div", { class: "controls" });
    if (this.attributes.length) controls.append(element("label", {}, "Colour by ", select));
    controls.append(element("label", {}, "Find ", search));
    if (atlas) controls.append(element("label", {}, this.pictures, "Pictures"));
    controls.append(element("div", { class: "zoom" },
      element("button", { type: "button", "aria-label": "zoom in", onclick: () => this.zoom(1.5) }, "+"),
      element("button", { type: "button", "aria-label": "zoom out", onclick: () => this.zoom(1 / 1.5) }, "\u2212"),
      element("button", { type: "button", onclick: () => this.fit() }, "All")));

    this.canvas = element("canvas", {
      class: "points", tabindex: "0", role: "application",
      "aria-label": `Map of ${this.count} items; arrow keys step from item to item`,
      onpointerdown: (event) => this.press(event),
      onpointermove: (event) => this.move(event),
      onpointerup: (event) => this.release(event),
      onpointercancel: () => { this.grip = null; },
      onpointerleave: () => { if (!this.pinned && !this.grip) this.select(-1); },
      ondblclick: (event) => this.zoom(2, event.offsetX, event.offsetY),
      onkeydown: (event) => this.key(event),
      onblur: () => { this.pinned = false; this.select(-1); },
    });
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a bare wheel scrolls the page
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 250), event.offsetX, event.offsetY);
    }, { passive: false });
    this.tipPicture = element("canvas", { width: "256", height: "256", "aria-hidden": "true" });
    this.tipText = element("div");
    this.tip = element("div", { class: "tip", "aria-hidden": "true" }, this.tipPicture, this.tipText);
    this.tip.hidden = true;
    this.live = element("p", { class: "unseen", "aria-live": "polite" });
    this.stage = element("div", { class: "stage" }, this.canvas, this.tip, this.live);
    this.aside = element("div", { class: "aside" });
    this.root.append(controls, this.stage);
    if (this.attributes.length) this.root.append(this.aside);
    else this.stage.style.gridColumn = "1 / -1";
    this.root.append(element("p", { class: "keys" },
      "Drag to move; Ctrl and the wheel, or + and \u2212, to zoom; 0 for all. Arrow keys step from item to item, Escape lets go."));

    if (atlas) {
      this.atlas = atlas;
      const sheet = new Image();
      sheet.onload = () => { this.sheet = sheet; this.draw(); };
      sheet.src = atlas.address;
    }
  }

  legend() {
    const attribute = this.attribute, theme = this.theme();
    this.aside.replaceChildren(element("h3", {}, attribute.name));
    if (attribute.scale) {
      const stops = RAMP.map((colour) => `rgb(${colour.join(" ")})`).join(", ");
      const bar = element("div", { class: "ramp" });
      bar.style.background = `linear-gradient(to right, ${stops})`;
      const ends = [attribute.low, attribute.high].map((end) => element("span", {}, number(end)));
      this.aside.append(bar, element("div", { class: "ends" }, ...ends));
      return;
    }
    const list = element("ul", { class: "classes" });
    attribute.classes.forEach((name, code) => {
      const spot = element("span", { class: "spot" });
      spot.style.background = attribute.classColour(code, theme);
      list.append(element("li", {}, element("button",
        { type: "button", "aria-pressed": String(this.chosen === code), onclick: () => this.choose(code) },
        spot, element("span", { class: "text" }, name || MISSING),
        element("span", { class: "count" }, attribute.counts[code].toLocaleString("en")))));
    });
    this.aside.append(list);
  }

  // ---- what is shown

  show(attribute) {
    if (attribute !== this.attribute) this.chosen = null;
    this.attribute = attribute;
    if (attribute) this.legend();
    this.draw();
  }

  choose(code) {
    this.chosen = this.chosen === code ? null : code;
    [...this.aside.querySelectorAll("button")].forEach((button, at) => {
      button.setAttribute("aria-pressed", String(this.chosen === at));
    });
    this.draw();
  }

  search(text) {
    this.wanted = text.trim().toLowerCase();
    const found = this.wanted ? this.matches().length : 0;
    this.live.textContent = this.wanted ? `${found} found` : "";
    this.draw();
  }

  matches() {
    return this.names.flatMap((name, item) => (name.toLowerCase().includes(this.wanted) ? [item] : []));
  }

  nextMatch() {
    const found = this.wanted ? this.matches() : [];
    if (!found.length) return;
    this.pinned = true;
    this.select(found.find((item) => item > this.item) ?? found[0]);
  }

  print(printing) {
    this.printing = printing;
    this.show(this.attribute);
  }

  // ---- hands

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.grip = { x: event.offsetX, y: event.offsetY, left: this.left, top: this.top, moved: false };
  }

  move(event) {
    const grip = this.grip;
    if (grip) {
      const dx = event.offsetX - grip.x, dy = event.offsetY - grip.y;
      grip.moved ||= Math.hypot(dx, dy) > CLICK;
      if (grip.moved) {
        this.left = grip.left + dx;
        this.top = grip.top + dy;
        this.draw();
      }
    } else if (!this.pinned) {
      this.select(this.nearest(event.offsetX, event.offsetY, this.reach()));
    }
  }

  release(event) {
    const moved = this.grip?.moved;
    this.grip = null;
    if (moved) return;
    const item = this.nearest(event.offsetX, event.offsetY, this.reach());
    this.pinned = item >= 0;
    this.select(item);
  }

  reach() { return this.pictures.checked ? PICTURE / 2 : REACH; }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const next = this.item < 0 ? this.nearest(this.width / 2, this.height / 2, Infinity) : this.towards(...step);
      this.pinned = true;
      if (next >= 0) this.select(next);
    } else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.fit();
    else if (event.key === "Escape") { this.pinned = false; this.select(-1); }
    else return;
    event.preventDefault();
  }

  select(item) {
    if (item === this.item) return;
    this.item = item;
    if (item >= 0) {
      const x = this.across(item), y = this.down(item);
      if (x < 0 || x > this.width || y < 0 || y > this.height) {
        this.left += this.width / 2 - x;
        this.top += this.height / 2 - y;
      }
      this.tell(item);
      const cell = this.atlas ? this.atlas.cells[item] : -1;
      this.tipPicture.hidden = cell < 0 || !this.sheet;
      if (!this.tipPicture.hidden) this.thumbnail(this.tipPicture.getContext("2d"), cell, 0, 0, 256);
    }
    this.draw();
  }

  tell(item) {
    const text = (attribute) => attribute.text(item) || MISSING;
    const lines = [element("p", { class: "name" }, this.names[item])];
    if (this.attribute) lines.push(element("p", {}, `${this.attribute.name}: ${text(this.attribute)}`));
    const others = this.attributes.filter((attribute) => attribute !== this.attribute);
    if (others.length) lines.push(element("p", { class: "soft" }, others.map(text).join(" \u00b7 ")));
    this.tipText.replaceChildren(...lines);
    const told = this.attributes.map((attribute) => `${attribute.name}: ${text(attribute)}`);
    this.live.textContent = [this.names[item], ...told].join(", ");
  }
}

for (const root of document.querySelectorAll(".map")) new ItemMap(root);
