// Where items lie on the screen, and how they are painted. Who inherits has `names`, `points`, `canvas`, `stage`, `tip` and
// what is chosen.
const MARGIN = 22, PICTURE = 38;
const dark = matchMedia("(prefers-color-scheme: dark)");

class View {
  theme() {
    return dark.matches && !this.printing ? DARK : LIGHT;
  }

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
    if (!this.attribute) return theme.series[0];
    const colour = this.attribute.colour(item, theme);
    // A class without a colour of its own, once chosen, would hardly stand out from the faded ones.
    return this.chosen !== null && colour === theme.other ? theme.series[0] : colour;
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
