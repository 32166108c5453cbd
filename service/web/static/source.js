// What the page of a source does while it is open: it hears that there is news, and shows the deliveries anew.

// Nobody waits longer than this before an open page; then it says so and stops asking.
const LONGEST_MS = 30 * 60 * 1000;

function follow(words) {
  const { live, part, on, off, news } = words.dataset;
  const list = document.getElementById("deliveries");
  const began = Date.now();
  let isFirst = true;
  let shown = list.innerHTML;
  const source = new EventSource(live);
  const stop = () => {
    source.close();
    words.textContent = off;
  };
  const show = async () => {
    if (Date.now() - began > LONGEST_MS) return stop();
    try {
      const answer = await fetch(part, { credentials: "same-origin" });
      if (!answer.ok || answer.redirected) return stop();
      const html = await answer.text();
      if (html === shown) return;
      shown = html;
      // Whoever is in the list with the keyboard stays in it.
      const place = [...list.querySelectorAll("button, a")].indexOf(document.activeElement);
      list.innerHTML = html;
      if (place >= 0) (list.querySelectorAll("button, a")[place] ?? words).focus();
      if (!isFirst) words.textContent = news;
    } catch {
      words.textContent = off;
    } finally {
      isFirst = false;
    }
  };
  source.addEventListener("open", () => { words.textContent = on; });
  source.addEventListener("news", show);
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) words.textContent = off;
    if (Date.now() - began > LONGEST_MS) stop();
  });
  addEventListener("pagehide", () => source.close());
}

for (const words of document.querySelectorAll("[data-live]")) follow(words);
