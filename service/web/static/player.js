// The player of a recording: our controls around the browser's own audio element. It never begins by itself.

const REPORT_MS = 5000;
const SVG = "http://www.w3.org/2000/svg";
const STEPS = { ArrowLeft: -5, ArrowRight: 5, ArrowDown: -5, ArrowUp: 5, PageDown: -30, PageUp: 30, j: -10, l: 10, J: -10, L: 10 };

/** Return sorted ranges in which those that touch or overlap are one. */
export function joinRanges(ranges) {
  const joined = [];
  for (const [start, end] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const last = joined.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else joined.push([start, end]);
  }
  return joined;
}

/** Return a length of time in words: "3 min 12 s". */
export function durationWords(seconds) {
  const whole = Math.round(seconds);
  const parts = [[Math.floor(whole / 3600), "h"], [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const shown = parts.filter(([number]) => number).map(([number, unit]) => `${number}\u00a0${unit}`);
  return shown.join(" ") || "0\u00a0s";
}

class Player {
  constructor(box) {
    this.box = box;
    this.audio = box.querySelector("audio");
    this.slider = box.querySelector("[role=slider]");
    this.words = box.dataset;
    this.told = Number(box.dataset.duration);
    this.before = JSON.parse(box.dataset.heard);
    this.counted = [];
    this.reported = "";
    this.timer = null;
    this.audio.controls = false;
    this.audio.hidden = true;
    box.querySelector(".player-own").classList.add("is-ready");
    this.listen();
    this.show();
    this.showHeard();
  }

  get duration() {
    // What the server decoded wins: a header can lie about it.
    return this.told || (Number.isFinite(this.audio.duration) ? this.audio.duration : 0);
  }

  listen() {
    const { audio, box, slider } = this;
    box.querySelector("[data-toggle]").addEventListener("click", () => this.toggle());
    for (const button of box.querySelectorAll("[data-skip]")) {
      button.addEventListener("click", () => this.skip(Number(button.dataset.skip)));
    }
    box.querySelector("[data-speed]").addEventListener("change", (event) => {
      audio.playbackRate = Number(event.target.value);
    });
    box.addEventListener("keydown", (event) => this.press(event));
    slider.addEventListener("pointerdown", (event) => this.drag(event));
    slider.addEventListener("pointermove", (event) => {
      if (slider.hasPointerCapture(event.pointerId)) this.seekTo(event);
    });
    for (const name of ["timeupdate", "seeking", "loadedmetadata"]) audio.addEventListener(name, () => this.show());
    for (const name of ["play", "playing"]) audio.addEventListener(name, () => this.turn(true));
    for (const name of ["pause", "ended"]) audio.addEventListener(name, () => this.turn(false));
    audio.addEventListener("error", () => this.fail());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.report();
    });
    addEventListener("pagehide", () => this.report());
  }

  toggle() {
    if (!this.audio.paused) return this.audio.pause();
    this.box.querySelector("[data-problem]").hidden = true;
    if (this.audio.error) {
      const at = this.audio.currentTime;
      this.audio.load();
      this.audio.currentTime = at;
    }
    // A rejected play() also raises "error" on the element, or was ended by pause().
    return this.audio.play().catch(() => {});
  }

  skip(seconds) {
    this.seek(this.audio.currentTime + seconds);
  }

  seek(seconds) {
    this.audio.currentTime = Math.min(Math.max(0, seconds), this.duration || 0);
    this.show();
  }

  drag(event) {
    if (event.button !== 0) return;
    this.slider.setPointerCapture(event.pointerId);
    this.seekTo(event);
  }

  seekTo(event) {
    const { left, width } = this.slider.getBoundingClientRect();
    this.seek(((event.clientX - left) / width) * this.duration);
  }

  press(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || target.closest("select, summary")) return;
    if (key === " " && target.closest("button")) return;
    if (key === " " || key === "k" || key === "K") this.toggle();
    else if (key in STEPS) this.skip(STEPS[key]);
    else if (key === "Home") this.seek(0);
    else if (key === "End") this.seek(this.duration);
    else return;
    event.preventDefault();
  }

  turn(isPlaying) {
    this.box.classList.toggle("is-playing", isPlaying);
    this.box.querySelector("[data-toggle]").setAttribute("aria-label", isPlaying ? this.words.pause : this.words.play);
    if (isPlaying) this.timer ??= setInterval(() => this.report(), REPORT_MS);
    else {
      clearInterval(this.timer);
      this.timer = null;
      this.report();
    }
    this.show();
  }

  fail() {
    const problem = this.box.querySelector("[data-problem]");
    problem.textContent = this.words.failed;
    problem.hidden = false;
    this.turn(false);
  }

  /** Return the seconds that this page has played, as the browser counts them. */
  played() {
    const { played } = this.audio;
    return Array.from({ length: played.length }, (_, n) => [played.start(n), played.end(n)])
      .map(([start, end]) => [Math.round(start * 1000) / 1000, Math.round(end * 1000) / 1000])
      .filter(([start, end]) => end > start);
  }

  async report() {
    const ranges = this.played();
    const body = JSON.stringify({ ranges });
    if (!ranges.length || body === this.reported) return;
    this.reported = body;
    const headers = { "Content-Type": "application/json", "Access-Grant": this.words.grant, "X-CSRF-Token": this.words.csrf };
    try {
      const answer = await fetch(this.words.heardUrl, { method: "POST", body, headers, keepalive: true });
      if (!answer.ok) throw new Error(String(answer.status));
      // What counts as heard is decided by the server, which knows what it sent and how long ago.
      this.counted = (await answer.json()).heard;
      this.showHeard();
    } catch {
      // Ranges only grow, so that the next report says this again.
      this.reported = "";
    }
  }

  show() {
    const at = Math.min(this.audio.currentTime, this.duration || Infinity);
    const share = this.duration ? Math.min(1, at / this.duration) : 0;
    this.slider.style.setProperty("--at", `${share * 100}%`);
    this.slider.setAttribute("aria-valuenow", String(Math.round(at)));
    const words = this.words.positionWords.replace("#", durationWords(at));
    this.slider.setAttribute("aria-valuetext", words);
    this.box.querySelector("[data-at]").textContent = this.position(at);
  }

  showHeard() {
    const heard = joinRanges([...this.before, ...this.counted]);
    const bar = this.box.querySelector(".heard-bar");
    bar.replaceChildren(...heard.map(([start, end]) => {
      const part = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ x: start, y: 0, width: end - start, height: 1 })) part.setAttribute(name, value);
      return part;
    }));
    const seconds = heard.reduce((sum, [start, end]) => sum + end - start, 0);
    const share = this.duration ? Math.min(100, Math.floor((seconds / this.duration) * 100)) : 0;
    this.box.querySelector("[data-heard-text]").textContent = seconds ? this.words.heardWords.replace("#", share) : "";
  }

  position(seconds) {
    const whole = Math.floor(seconds);
    const pad = (number) => String(number).padStart(2, "0");
    const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const shown = hours ? [hours, pad(minutes), pad(rest)] : [minutes, pad(rest)];
    return shown.join(this.words.separator);
  }
}

for (const box of document.querySelectorAll("[data-player]")) new Player(box);
