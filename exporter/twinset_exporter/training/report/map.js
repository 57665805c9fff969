"use strict";
// Fills every `.map` of the page from the JSON that lies in it. Nothing is fetched; texts of users only ever become text.
(() => {
  const LIGHT = {
    series: ["#2f6fdb", "#e07b2c", "#1f8a5b", "#c9437c", "#7a55c7", "#a8901a", "#14a0b5", "#99592f", "#e58bb6", "#79a62f", "#566b8c", "#c8402f"],
    other: "#b4b6b8", faded: "#dcdcd8", ink: "#1c1d1f", paper: "#f6f6f4", card: "#ffffff",
  };
  const DARK = {
    series: ["#6f9ff5", "#f0984f", "#4fbf8b", "#ee7fb0", "#b092f0", "#d6be4a", "#4cc9dc", "#cf9468", "#f7b6d2", "#a9d25f", "#98abc9", "#f0806f"],
    other: "#6d7278", faded: "#33363a", ink: "#ececea", paper: "#131416", card: "#1c1e21",
  };
  const RAMP = [[59, 47, 143], [47, 111, 179], [42, 161, 152], [140, 193, 82], [242, 209, 60]];
  const MISSING = "none";
  const MARGIN = 22, CLICK = 4, REACH = 14, PICTURE = 38;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function ramp(share) {
    const at = Math.min(RAMP.length - 1.001, Math.max(0, share * (RAMP.length - 1)));
    const low = RAMP[Math.floor(at)], high = RAMP[Math.floor(at) + 1], part = at - Math.floor(at);
    return `rgb(${low.map((value, i) => Math.round(value + (high[i] - value) * part)).join(" ")})`;
  }

  const number = (value) => (value === null ? MISSING : String(Number(value.toPrecision(4))));

  class Attribute {
    constructor({ name, classes, codes, scale }) {
      Object.assign(this, { name, classes, codes, scale });
      if (scale) {
        const known = scale.filter((value) => value !== null);
        this.low = Math.min(...known);
        this.high = Math.max(...known);
      } else {
        this.counts = classes.map(() => 0);
        for (const code of codes) this.counts[code] += 1;
      }
    }
    text(item) {
      return this.scale ? number(this.scale[item]) : this.classes[this.codes[item]];
    }
    classColour(code, theme) {
      // With more classes than colours the commonest have one each.
      const coloured = this.classes.length <= theme.series.length ? this.classes.length : theme.series.length - 1;
      return code < coloured ? theme.series[code] : theme.other;
    }
    colour(item, theme) {
      if (!this.scale) return this.classColour(this.codes[item], theme);
      const value = this.scale[item];
      return value === null ? theme.other : ramp((value - this.low) / (this.high - this.low || 1));
    }
  }

  class ItemMap {
    constructor(root) {
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

    theme() {
      return dark.matches && !this.printing ? DARK : LIGHT;
    }

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

    // ---- geometry

    resize() {
      const { clientWidth: width, clientHeight: height } = this.stage;
      if (!width || !height) return;
      const ratio = Math.max(2, devicePixelRatio || 1); // sharp on paper too
      this.canvas.width = width * ratio;
      this.canvas.height = height * ratio;
      this.ratio = ratio;
      this.width = width;
      this.height = height;
      this.fit();
    }

    fit() {
      let right = 1, bottom = 1;
      for (let i = 0; i < this.count; i += 1) {
        right = Math.max(right, this.points[2 * i]);
        bottom = Math.max(bottom, this.points[2 * i + 1]);
      }
      this.whole = Math.min((this.width - 2 * MARGIN) / right, (this.height - 2 * MARGIN) / bottom);
      this.scale = this.whole;
      this.left = (this.width - right * this.scale) / 2;
      this.top = (this.height - bottom * this.scale) / 2;
      this.draw();
    }

    zoom(factor, x = this.width / 2, y = this.height / 2) {
      const scale = Math.min(this.whole * 60, Math.max(this.whole * 0.6, this.scale * factor));
      this.left = x - (x - this.left) * (scale / this.scale);
      this.top = y - (y - this.top) * (scale / this.scale);
      this.scale = scale;
      this.draw();
    }

    across(item) { return this.left + this.points[2 * item] * this.scale; }
    down(item) { return this.top + this.points[2 * item + 1] * this.scale; }

    nearest(x, y, reach) {
      let best = -1, least = reach * reach;
      for (let item = 0; item < this.count; item += 1) {
        const squared = (this.across(item) - x) ** 2 + (this.down(item) - y) ** 2;
        if (squared < least) [best, least] = [item, squared];
      }
      return best;
    }

    /** The item to step to: near, and rather ahead than aside. */
    towards(dx, dy) {
      let best = -1, least = Infinity;
      for (let item = 0; item < this.count; item += 1) {
        const x = this.across(item) - this.across(this.item), y = this.down(item) - this.down(this.item);
        const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
        if (item === this.item || ahead <= 0 || aside > ahead) continue;
        if (ahead + 2 * aside < least) [best, least] = [item, ahead + 2 * aside];
      }
      return best;
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

    // ---- drawing

    thumbnail(context, cell, x, y, side) {
      const { cell: size, columns } = this.atlas;
      context.drawImage(this.sheet, (cell % columns) * size, Math.floor(cell / columns) * size, size, size, x, y, side, side);
    }

    draw() {
      if (!this.width || this.frame) return;
      this.frame = requestAnimationFrame(() => { this.frame = 0; this.paint(); });
      if (this.printing) { // paper doesn't wait for the next frame
        cancelAnimationFrame(this.frame);
        this.frame = 0;
        this.paint();
      }
    }

    paint() {
      const context = this.canvas.getContext("2d"), theme = this.theme();
      context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
      context.clearRect(0, 0, this.width, this.height);
      const stands = this.standsOut();
      const order = [...this.names.keys()];
      if (stands) order.sort((a, b) => stands[a] - stands[b]);
      const crowd = Math.min(1, Math.sqrt(1500 / this.count));
      const radius = Math.min(7, (1.6 + 1.9 * crowd) * Math.sqrt(this.scale / this.whole));
      for (const item of order) {
        const x = this.across(item), y = this.down(item);
        if (x < -radius || y < -radius || x > this.width + radius || y > this.height + radius) continue;
        context.fillStyle = stands && !stands[item] ? theme.faded : this.colour(item, theme);
        context.globalAlpha = stands ? 1 : 0.85;
        context.beginPath();
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      }
      context.globalAlpha = 1;
      if (this.pictures.checked && this.sheet) this.paintPictures(context, theme, order.reverse(), stands);
      if (this.item >= 0) this.paintSelected(context, theme, radius);
      this.placeTip();
    }

    colour(item, theme) {
      return this.attribute ? this.attribute.colour(item, theme) : theme.series[0];
    }

    standsOut() {
      if (this.wanted) {
        const stands = new Uint8Array(this.count);
        for (const item of this.matches()) stands[item] = 1;
        return stands;
      }
      return this.chosen === null ? null : Uint8Array.from(this.attribute.codes, (code) => code === this.chosen);
    }

    paintPictures(context, theme, order, stands) {
      const taken = new Set();
      for (const item of order) {
        const cell = this.atlas.cells[item];
        if (cell < 0 || (stands && !stands[item])) continue;
        const x = this.across(item), y = this.down(item);
        if (x < 0 || y < 0 || x > this.width || y > this.height) continue;
        // On a grid, so that none covers another: the first in a square takes it.
        const column = Math.floor(x / PICTURE), row = Math.floor(y / PICTURE);
        if (taken.has(`${column} ${row}`)) continue;
        taken.add(`${column} ${row}`);
        const left = column * PICTURE + 1, top = row * PICTURE + 1;
        const side = PICTURE - 4;
        context.fillStyle = this.colour(item, theme);
        context.beginPath();
        context.roundRect(left, top, side + 2, side + 2, 6);
        context.fill();
        context.save();
        context.beginPath();
        context.roundRect(left + 1.5, top + 1.5, side - 1, side - 1, 5);
        context.clip();
        this.thumbnail(context, cell, left + 1.5, top + 1.5, side - 1);
        context.restore();
      }
    }

    paintSelected(context, theme, radius) {
      context.beginPath();
      context.arc(this.across(this.item), this.down(this.item), radius + 3, 0, 2 * Math.PI);
      context.fillStyle = this.colour(this.item, theme);
      context.fill();
      context.lineWidth = 2;
      context.strokeStyle = theme.ink;
      context.stroke();
    }

    placeTip() {
      this.tip.hidden = this.item < 0;
      if (this.tip.hidden) return;
      const x = this.across(this.item), y = this.down(this.item), gap = 14;
      const { offsetWidth: width, offsetHeight: height } = this.tip;
      const left = x + gap + width <= this.width ? x + gap : x - gap - width;
      this.tip.style.left = `${Math.max(4, Math.min(this.width - width - 4, left))}px`;
      this.tip.style.top = `${Math.max(4, Math.min(this.height - height - 4, y - height / 2))}px`;
    }
  }

  for (const root of document.querySelectorAll(".map")) new ItemMap(root);
})();
