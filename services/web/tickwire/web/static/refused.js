// Says why the page stays empty: behind a proxy that does not pass the header Host on, modules are refused as those of
// another site, for which a browser names the page's origin; for this script it names none.

addEventListener("error", ({ target }) => {
  if (!target.src?.endsWith("/static/page.js")) return;
  const tell = () => {
    const place = document.getElementById("connection");
    place.className = "lost";
    place.textContent = "the page's scripts are refused: a proxy has to pass the header Host on";
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", tell); else tell();
}, true);
