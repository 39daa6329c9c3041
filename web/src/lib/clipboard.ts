/** Puts text on the clipboard; false: the browser does not let this page. Pages that came over plain HTTP from another machine have no `navigator.clipboard`,
 * so the old way is tried as well: it works at once or not at all, within the press of a key or a button. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

function copySelected(text: string): boolean {
  const before = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "sr";
  field.setAttribute("aria-hidden", "true");
  // Beside what was pressed: a dialog keeps the focus within itself.
  (before?.parentElement ?? document.body).append(field);
  field.focus({ preventScroll: true });
  field.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    field.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  }
}
