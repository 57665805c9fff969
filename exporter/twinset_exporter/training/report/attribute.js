// How items are coloured: by class or along a scale, in two themes.
const MISSING = "none";
const LIGHT = {
  series: ["#2f6fdb", "#e07b2c", "#1f8a5b", "#c9437c", "#7a55c7", "#a8901a", "#14a0b5", "#99592f", "#e58bb6", "#79a62f", "#566b8c", "#c8402f"],
  other: "#b4b6b8", faded: "#dcdcd8", ink: "#1c1d1f", paper: "#f6f6f4", card: "#ffffff",
};
const DARK = {
  series: ["#6f9ff5", "#f0984f", "#4fbf8b", "#ee7fb0", "#b092f0", "#d6be4a", "#4cc9dc", "#cf9468", "#f7b6d2", "#a9d25f", "#98abc9", "#f0806f"],
  other: "#6d7278", faded: "#33363a", ink: "#ececea", paper: "#131416", card: "#1c1e21",
};
const RAMP = [[59, 47, 143], [47, 111, 179], [42, 161, 152], [140, 193, 82], [242, 209, 60]];

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
