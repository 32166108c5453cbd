// The page of recovery codes, which are shown once: prints them, or copies them.

for (const actions of document.querySelectorAll("[data-keep]")) {
  const codes = document.getElementById(actions.dataset.keep);
  const copied = actions.querySelector("[data-copied]");
  actions.hidden = false;
  actions.querySelector("[data-print]").addEventListener("click", () => window.print());
  actions.querySelector("[data-copy]").addEventListener("click", async () => {
    await navigator.clipboard.writeText(codes.innerText);
    copied.textContent = copied.dataset.copied;
  });
  // A page that is not served over HTTPS may not copy (W3C Clipboard API).
  actions.querySelector("[data-copy]").hidden = !navigator.clipboard;
}
