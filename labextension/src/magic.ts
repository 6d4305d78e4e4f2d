/** What of a cell's text is for us: our magics. Pure. */

/** True for a cell whose code calls one of our magics: `%mlops run`, `run = %mlops run`, `%%mlops step load`. */
export function callsMagic(source: string): boolean {
  return /^[^#\n'"]*%mlops\b/m.test(source);
}
