// What a page does beyond showing itself: loads its slow parts, and says when a grant is about to end.

const SOON_MS = 2 * 60 * 1000;
// Longer delays than this overflow a timer and fire at once (HTML, timers).
const LONGEST_MS = 2 ** 31 - 1;

async function loadFragment(place) {
  try {
    const answer = await fetch(place.dataset.fragment, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    place.innerHTML = await answer.text();
  } catch {
    const words = document.createElement("p");
    words.className = "notice notice-wait";
    words.textContent = place.dataset.failed;
    place.replaceChildren(words);
  }
}

function watchGrant(banner) {
  const words = banner.querySelector("[data-soon]");
  const left = Date.parse(banner.dataset.expires) - Date.now();
  const say = (text, delay) => {
    if (delay < LONGEST_MS) setTimeout(() => { words.textContent = text; }, Math.max(0, delay));
  };
  if (left > 0) say(words.dataset.soon, left - SOON_MS);
  say(words.dataset.over, left);
}

for (const place of document.querySelectorAll("[data-fragment]")) loadFragment(place);
for (const banner of document.querySelectorAll("[data-expires]")) watchGrant(banner);
