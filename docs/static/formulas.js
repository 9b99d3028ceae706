// On a phone formulas that stand side by side go below each other.
function stack() {
  if (innerWidth > 500) return;
  for (const formula of document.querySelectorAll("div.math")) {
    const [, text] = formula.textContent.match(/^\s*\\\[([^]*)\\\]\s*$/) ?? [];
    if (text?.includes("\\qquad") && !/&|\\begin|\\\\/.test(text))
      formula.textContent = `\\[\\begin{gathered}${text.replaceAll("\\qquad", "\\\\")}\\end{gathered}\\]`;
  }
}
// Wider than the page, they become smaller, down to what can be read.
function fit() {
  for (const formula of document.querySelectorAll("div.math")) {
    const inner = formula.querySelector("mjx-math");
    if (!inner) continue;
    formula.style.fontSize = "";
    const ratio = formula.clientWidth / (inner.scrollWidth + 8);
    if (ratio < 1) formula.style.fontSize = `${Math.max(ratio, 0.6)}em`;
  }
}
window.MathJax = {
  ...window.MathJax, // what MyST says of the classes that hold formulas
  startup: { pageReady: () => (stack(), MathJax.startup.defaultPageReady().then(fit)) },
  chtml: { matchFontHeight: false },
};
addEventListener("resize", fit);
