// What the page can do without, made better: copy, ask again, stay fresh, sign in by a link.
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value);
  } catch {
    source.select();
    document.execCommand("copy");
  }
  document.getElementById("copied").textContent = "Copied.";
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// The secret of a link is behind the #, which no browser sends anywhere.
const signIn = document.getElementById("sign-in");
if (signIn && location.hash.length > 20) {
  signIn.elements.token.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  signIn.requestSubmit();
}

// NIP-98, by an extension that holds the key (NIP-07).
const proving = [...document.querySelectorAll("[data-nostr]")];
const offer = () => { if (window.nostr) proving.forEach((form) => { form.hidden = false; }); };
offer();
setTimeout(offer, 500);
for (const form of proving) {
  form.addEventListener("submit", async (event) => {
    if (form.elements.event.value) return;
    event.preventDefault();
    const proof = await window.nostr.signEvent({
      kind: 27235,
      created_at: Math.floor(Date.now() / 1000),
      tags: [["u", form.action], ["method", "POST"]],
      content: "",
    });
    form.elements.event.value = JSON.stringify(proof);
    form.submit();
  });
}

const EVERY_MS = 5000;
if (document.querySelector("[data-live]")) {
  setInterval(async () => {
    const live = document.querySelector("[data-live]");
    if (document.hidden || live.contains(document.activeElement)) return;
    const answer = await fetch(location.href, { redirect: "error" }).catch(() => null);
    if (!answer || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const part = fresh.querySelector("[data-live]");
    if (part && part.innerHTML !== live.innerHTML) live.replaceWith(part);
  }, EVERY_MS);
}
